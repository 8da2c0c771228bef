'use strict';

module.exports = app => {
  app.router.get('/', async ctx => {
    ctx.body = 'Hello World';
  });
  app.router.get('/whoami', async ctx => {
    ctx.body = String(process.pid);
  });
};

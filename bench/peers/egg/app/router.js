'use strict';

module.exports = app => {
  app.router.get('/', async ctx => {
    ctx.body = 'Hello World';
  });
};

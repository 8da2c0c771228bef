'use strict';
// The image server of the article: Koa, its router and Jimp, in one process or in a cluster.
const cluster = require('node:cluster');
const { createReadStream, createWriteStream } = require('node:fs');
const { mkdtemp, rm, stat } = require('node:fs/promises');
const { once } = require('node:events');
const { join } = require('node:path');
const { pipeline } = require('node:stream/promises');

const [port, workers, folder, modules] = process.argv.slice(2);
const load = name => require(require.resolve(name, { paths: [modules] }));

// With one worker there is no cluster, as in the article's first half.
if (Number(workers) > 1 && cluster.isPrimary) {
  cluster.on('exit', () => cluster.fork());
  cluster.on('listening', worker => console.log(`worker-ready ${worker.process.pid}`));
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  const Koa = load('koa');
  const { Router } = load('@koa/router');
  const { Jimp } = load('jimp');
  const app = new Koa();
  const router = new Router();

  router.get('/', context => {
    context.body = `Hello World from process ${process.pid}\n`;
  });
  router.post('/flip', async context => {
    const place = await mkdtemp(join(folder, 'flip-'));
    try {
      const copy = join(place, 'copy.jpg');
      const flipped = join(place, 'flipped.jpg');
      await pipeline(context.req, createWriteStream(copy));
      // Its default is too little for 12 million pixels and more.
      const image = await Jimp.read(copy, { 'image/jpeg': { maxMemoryUsageInMB: 4096 } });
      image.flip({ horizontal: false, vertical: true });
      await image.write(flipped, { quality: 90 });
      const { size } = await stat(flipped);
      const file = createReadStream(flipped);
      await once(file, 'open');
      context.type = 'image/jpeg';
      context.length = size;
      context.body = file;
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  });

  app.use(async (context, next) => {
    const began = Date.now();
    await next();
    context.set('X-Response-Time', `${Date.now() - began}ms`);
  });
  app.use(router.routes()).use(router.allowedMethods());
  const server = app.listen(Number(port), '127.0.0.1', () => {
    if (!cluster.isWorker) console.log(`worker-ready ${process.pid}`);
  });
  // Otherwise it hangs up on whoever has not sent all after five minutes, while it is busy with others.
  server.requestTimeout = 0;
}

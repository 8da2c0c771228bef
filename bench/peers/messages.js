'use strict';
// The same measurements with Node's cluster: workers talk through the primary, which passes messages on.
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  cluster.on('listening', worker => console.log(`worker-ready ${worker.process.pid}`));
  cluster.on('message', (worker, message) => {
    switch (message.to) {
      case 'all':
        for (const id in cluster.workers) cluster.workers[id].send(message);
        break;
      case 'back':
        worker.send(message);
        break;
      case 'one':
        cluster.workers[message.id]?.send(message);
        break;
    }
  });
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  let count = 0;
  const waiting = { counted: null, echo: null, large: null };
  process.on('message', message => {
    switch (message.what) {
      case 'text':
        count++;
        break;
      case 'count':
        process.send({ to: 'one', id: message.from, what: 'counted', count });
        count = 0;
        break;
      case 'counted':
        waiting.counted(message.count);
        break;
      case 'echo':
        waiting.echo();
        break;
      case 'large':
        break;
      case 'last':
        process.send({ to: 'one', id: message.from, what: 'done' });
        break;
      case 'done':
        waiting.large();
        break;
    }
  });

  const seconds = begun => Number(process.hrtime.bigint() - begun) / 1e9;
  // The callback says that the message has left this process: so none piles up here without end.
  const sent = message => new Promise(done => process.send(message, done));

  const measures = {
    async broadcast(time) {
      const text = 'x'.repeat(100);
      const begun = process.hrtime.bigint();
      while (seconds(begun) < time) {
        for (let i = 0; i < 999; i++) process.send({ to: 'all', what: 'text', text });
        await sent({ to: 'all', what: 'text', text });
      }
      let total = 0, missing = workers;
      await new Promise(done => {
        waiting.counted = count => {
          total += count;
          if (--missing === 0) done();
        };
        process.send({ to: 'all', what: 'count', from: cluster.worker.id });
      });
      return total / seconds(begun);
    },
    async echo(rounds) {
      const times = [];
      for (let i = 0; i < rounds; i++) {
        const begun = process.hrtime.bigint();
        await new Promise(done => {
          waiting.echo = done;
          process.send({ to: 'back', what: 'echo', text: 'hello' });
        });
        times.push(Number(process.hrtime.bigint() - begun) / 1e3);
      }
      times.sort((a, b) => a - b);
      return times[rounds >> 1];
    },
    async large(time) {
      const text = 'x'.repeat(1 << 20);
      const id = cluster.worker.id % workers + 1;
      const begun = process.hrtime.bigint();
      let count = 0;
      while (seconds(begun) < time) {
        await sent({ to: 'one', id, what: 'large', text });
        count++;
      }
      await new Promise(done => {
        waiting.large = done;
        process.send({ to: 'one', id, what: 'last', from: cluster.worker.id });
      });
      return count / seconds(begun);
    },
  };

  http
    .createServer(async (request, response) => {
      const [, what, number] = request.url.split('/');
      if (measures[what]) response.end(String(await measures[what](Number(number))));
      else response.end('Hello World');
    })
    .listen(port, '127.0.0.1');
}

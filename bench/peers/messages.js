'use strict';
// The same measurements with Node's cluster: workers talk through the primary, which passes messages on.
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2).map(Number);

// How many additions of a worker are under way at any time.
const AT_ONCE = 16;

if (cluster.isPrimary) {
  const counters = new Map();
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
      case 'counter': {
        const value = (counters.get(message.key) ?? 0) + message.by;
        counters.set(message.key, value);
        worker.send({ what: 'added', request: message.request, value });
        break;
      }
    }
  });
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  let count = 0;
  const waiting = { counted: null, echo: null, large: null, adds: null };
  const additions = new Map();
  let request = 0;
  const add = (key, by) =>
    new Promise(done => {
      additions.set(++request, done);
      process.send({ to: 'counter', key, by, request });
    });
  // As often as it can, and how often that was.
  const keepAdding = async time => {
    const begun = process.hrtime.bigint();
    let made = 0;
    const one = async () => {
      while (seconds(begun) < time) {
        await add('requests', 1);
        made++;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    return made;
  };
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
      case 'added':
        additions.get(message.request)(message.value);
        additions.delete(message.request);
        break;
      case 'adds':
        keepAdding(message.time).then(made => process.send({ to: 'one', id: message.from, what: 'made', made }));
        break;
      case 'made':
        waiting.adds(message.made);
        break;
    }
  });

  const seconds = begun => Number(process.hrtime.bigint() - begun) / 1e9;
  // The callback says that the message has left this process: so none piles up here without end.
  const sent = message => new Promise(done => process.send(message, done));

  // Of so many calls, one after the other, in microseconds.
  const median = async (rounds, call) => {
    const times = [];
    for (let i = 0; i < rounds; i++) {
      const begun = process.hrtime.bigint();
      await call();
      times.push(Number(process.hrtime.bigint() - begun) / 1e3);
    }
    times.sort((a, b) => a - b);
    return times[rounds >> 1];
  };

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
      return median(rounds, () =>
        new Promise(done => {
          waiting.echo = done;
          process.send({ to: 'back', what: 'echo', text: 'hello' });
        }));
    },
    async adds(time) {
      const begun = process.hrtime.bigint();
      let total = 0, missing = workers;
      await new Promise(done => {
        waiting.adds = made => {
          total += made;
          if (--missing === 0) done();
        };
        process.send({ to: 'all', what: 'adds', time, from: cluster.worker.id });
      });
      return total / seconds(begun);
    },
    async add(rounds) {
      return median(rounds, () => add('requests', 1));
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

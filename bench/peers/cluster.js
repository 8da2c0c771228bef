'use strict';
// The usual Node cluster: fork, and fork again when one is gone.
const cluster = require('node:cluster');
const http = require('node:http');

const [port, workers] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  cluster.on('exit', () => cluster.fork());
  cluster.on('listening', worker => console.log(`worker-ready ${worker.process.pid}`));
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  http
    .createServer((request, response) => response.end('Hello World'))
    .listen(port, '127.0.0.1');
}

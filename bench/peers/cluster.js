'use strict';
// The usual Node cluster: fork, and fork again when one is gone.
const cluster = require('node:cluster');
const listen = require('./http.js');

const [port, workers] = process.argv.slice(2).map(Number);

if (cluster.isPrimary) {
  cluster.on('exit', () => cluster.fork());
  cluster.on('listening', worker => console.log(`worker-ready ${worker.process.pid}`));
  for (let i = 0; i < workers; i++) cluster.fork();
} else {
  listen(port);
}

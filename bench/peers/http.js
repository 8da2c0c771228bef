'use strict';
// The server of every Node peer but Egg: the same answers as those of the servers written in Rust.
const http = require('node:http');

// In microseconds of this process.
function burn(cost) {
  const begin = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(begin);
    if (user + system >= cost) return 'burnt';
  }
}

function answer(url) {
  if (url === '/whoami') return String(process.pid);
  return url === '/burn' ? burn(50_000) : 'Hello World';
}

module.exports = (port, listening) =>
  http.createServer((request, response) => response.end(answer(request.url))).listen(port, '127.0.0.1', listening);

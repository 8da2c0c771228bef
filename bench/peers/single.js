'use strict';
// One process. PM2 makes a cluster of this, and gives it no arguments.
require('./http.js')(Number(process.env.PORT || process.argv[2]), () => console.log(`worker-ready ${process.pid}`));

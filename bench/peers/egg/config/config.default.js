'use strict';

// Egg does not start without a key.
exports.keys = 'benchmark';

#!/usr/bin/env node
import * as nodeModule from 'node:module';
import path from 'node:path';
import { pointStackTracesAtSources } from './source-maps.js';

pointStackTracesAtSources();
// Node 22.8 and newer keep compiled code on disk, and start faster. Beside our own code, which only its owner can write to, and never in
// /tmp, where others could put theirs; where we cannot write, nothing is kept.
if ('enableCompileCache' in nodeModule) {
  (nodeModule.enableCompileCache as (directory: string) => unknown)(
    path.join(import.meta.dirname, '../../.compile-cache'),
  );
}
await import('./program.js');

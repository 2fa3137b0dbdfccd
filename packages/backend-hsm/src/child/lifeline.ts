/**
 * Runs in a thread of its own and ends the process when the server is gone, however it went: the other end of the pipe closes with it. The
 * main thread may hang in the module by then and would not see it.
 */
import { Socket } from 'node:net';
import { LIFELINE_FD } from '../file-descriptors.js';

const pipe = new Socket({ fd: LIFELINE_FD, readable: true, writable: false });
const end = () => {
  // Not exit(): it would wait for a call that never returns.
  process.kill(process.pid, 'SIGKILL');
};
pipe.on('end', end).on('error', end).on('close', end);
pipe.resume();

export { lendHost } from '../host.js';
export type { Fault, Faults, Harness } from './harness.js';

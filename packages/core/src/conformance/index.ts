export { lendHost } from '../host.js';
export { conformanceCases, type Case } from './cases.js';
export { failureOf } from './failure-of.js';
export type { Fault, Faults, Harness, OptionalFaults } from './harness.js';
export { openBackend, type OpenedBackend } from './open-backend.js';

/**
 * Loaded into every worker of vitest. When vitest itself is killed, its workers otherwise go on with nobody to report to, and with
 * them what they started.
 */
process.once('disconnect', () => process.exit(1));

import { afterAll } from 'vitest';
import { startNss } from '../../src/pkcs11/nss.js';
import { playKit } from '../../src/pkcs11/play-kit.js';
import { testDirectory } from '../../src/test-directory.js';

const { harness, stop } = await startNss(await testDirectory('nss'));
afterAll(stop);
playKit('NSS softokn', harness);

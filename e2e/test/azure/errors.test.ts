import { lendHost } from '@sealwax/core/conformance';
import { expect, test } from 'vitest';
import { backend } from '@sealwax/backend-azure';
import { AzureService } from '../../src/azure.js';
import { testDirectory } from '../../src/test-directory.js';
import { mkdir } from 'node:fs/promises';
test('x', async () => {
  const directory = await testDirectory('errors');
  await mkdir(directory, { recursive: true });
  const s = await AzureService.start({ directory });
  const { signal } = new AbortController();
  const checked = await backend.config['~standard'].validate(s.config);
  console.log(checked.issues);
  const b = await backend.open(checked.value!, lendHost('azure', (f) => console.log(f), signal));
  const w = await b.wrap(new Uint8Array(32).fill(7), signal);
  console.log(w.kekId, w.ciphertext.length, await b.unwrap(w, signal), s.double.vault.requests, s.double.entra.logins);
  for (const f of ['throttle','stall','outage','expireCredential','deny','disable','deleteKey','replaceKek'] as const) {
    await (s.harness.faults[f] as any)();
    for (const op of ['currentKekId','wrap','unwrap'] as const) {
      const t = performance.now();
      const sg = AbortSignal.timeout(700);
      const e = await (op === 'currentKekId' ? b.currentKekId(sg) : op==='wrap' ? b.wrap(new Uint8Array(32), sg) : b.unwrap(w, sg)).catch(e => e);
      console.log(f, op, e.code, e.message ?? e, e.retryAfterMs, Math.round(performance.now()-t));
      if (e.code === 'internal') console.log(e.cause);
    }
    await s.harness.mend();
    console.log(f, 'mended', await b.currentKekId(signal).catch(e=>e.message), f === 'replaceKek' ? '' : await b.unwrap(w, signal).then(()=>'ok').catch(e=>e.message), await b.unwrap(w, signal).then(()=>'ok').catch(e=>e.message));
  }
  await b.close();
  await s.stop();
});

import path from 'node:path';
import { expect, test } from 'vitest';
import { DebianTree } from '../../src/debian.js';

const docs = path.resolve(import.meta.dirname, '../../../docs');

test('the alerting rules are valid, and each fires on what it is for and not before', async () => {
  const prometheus = await DebianTree.get('prometheus');
  expect(await prometheus.run('promtool', ['check', 'rules', path.join(docs, 'alerts.yaml')])).toContain('SUCCESS');
  expect(await prometheus.run('promtool', ['test', 'rules', path.join(docs, 'alerts.test.yaml')])).toContain('SUCCESS');
});

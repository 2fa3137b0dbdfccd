import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { root, run } from './child.mjs';

const generated = 'src/gen';

/**
 * Generates the protobuf code anew, elsewhere, and compares it with what is checked in.
 *
 * @returns {boolean} whether there is no difference; what differs is printed
 */
export function generatedCodeIsCurrent() {
  let current = true;
  const packages = path.join(root, 'packages');
  for (const name of readdirSync(packages)) {
    const cwd = path.join(packages, name);
    if (!existsSync(path.join(cwd, 'buf.gen.yaml'))) continue;
    const elsewhere = mkdtempSync(path.join(tmpdir(), 'sealwax-generated-'));
    try {
      const code = run(path.join(root, 'node_modules/.bin/buf'), ['generate', '--output', elsewhere], { cwd });
      const differing = code === 0 ? differences(path.join(cwd, generated), path.join(elsewhere, generated)) : [];
      for (const file of differing) {
        console.error(`packages/${name}/${generated}/${file} is not what its .proto file gives; run: npm run generate`);
      }
      if (code !== 0 || differing.length > 0) current = false;
    } finally {
      rmSync(elsewhere, { recursive: true });
    }
  }
  return current;
}

/** The files that are in one folder only, or not the same in both. */
function differences(checkedIn, fresh) {
  const files = new Set([...filesIn(checkedIn), ...filesIn(fresh)]);
  const contentOf = (folder, file) => {
    const full = path.join(folder, file);
    return existsSync(full) ? readFileSync(full, 'utf8') : undefined;
  };
  return [...files].filter((file) => contentOf(checkedIn, file) !== contentOf(fresh, file));
}

function filesIn(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)));
}

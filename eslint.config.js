import importX from 'eslint-plugin-import-x';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import tseslint from 'typescript-eslint';

const root = import.meta.dirname;
const backends = readdirSync(path.join(root, 'packages')).filter((name) => name.startsWith('backend-'));

/** What a package may not import: `subjects` are the forbidden packages, `reason` is shown. */
const forbid = (files, subjects, reason) => ({
  files,
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      { patterns: [{ group: subjects.flatMap((name) => [name, `${name}/*`]), message: reason }] },
    ],
  },
});

export default tseslint.config(
  { ignores: ['**/dist/**', '**/src/gen/**', '**/node_modules/**', '.nx/**'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: root } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-console': 'error',
    },
  },
  {
    // Vitest hands its matchers out as `any`-typed asymmetric values, and a test may shorten what production code spells out.
    files: ['packages/*/test/**/*.ts', 'e2e/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['packages/*/src/cli.ts', 'packages/*/src/cli/**/*.ts', 'e2e/**/*.ts', 'bench/src/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
  // TypeScript resolves any hoisted package; only this rule keeps a package to what its own package.json names.
  ...[...readdirSync(path.join(root, 'packages')).map((name) => `packages/${name}`), 'e2e', 'bench'].map((folder) => ({
    files: [`${folder}/**/*.ts`],
    plugins: { 'import-x': importX },
    rules: {
      'import-x/no-extraneous-dependencies': [
        'error',
        {
          packageDir: path.join(root, folder),
          includeTypes: true,
          peerDependencies: true,
          optionalDependencies: true,
          // The server's are in its bundle.
          devDependencies: folder === 'packages/server' || [`**/${folder}/test/**`, '**/vitest.config.ts'],
        },
      ],
    },
  })),
  forbid(['packages/core/**'], ['@sealwax/backend-*', '@sealwax/server'], 'core knows no backend and no server'),
  ...backends.map((name) =>
    forbid(
      [`packages/${name}/**`],
      ['@sealwax/server', ...backends.filter((other) => other !== name).map((other) => `@sealwax/${other}`)],
      'a backend depends on core and on its provider’s client only',
    ),
  ),
);

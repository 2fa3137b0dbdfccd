import { existsSync, readFileSync, realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { FileError, readTrustedFile } from '@sealwax/core';
import { exports as exportsOf, legacy } from 'resolve.exports';
import { z } from 'zod';
import { nearest } from './config/issue.js';
import { version } from './version.js';

// Whoever can write to it runs code in this process.
const FORBIDDEN_MODE = 0o022;
/** A vendor's backend may be a bundle with a whole SDK in it. */
const MAX_MODULE_BYTES = 64 * 1024 * 1024;

const packageName = /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/;
const manifestSchema = z.looseObject({ name: z.string().optional(), version: z.string().optional() });
type Manifest = z.infer<typeof manifestSchema>;

/** What serves a key, for whoever asks which code it is. */
export interface BackendPackage {
  /** Of the package, or the module's path where it belongs to none. */
  readonly name: string;
  readonly version: string | undefined;
  /** What a stack trace says of its code: one of these is in the path of each of its files. */
  readonly paths: readonly string[];
}

/** Where to import a backend from. */
export interface FoundBackend extends BackendPackage {
  readonly url: string;
}

/** Where backends are looked for, in this order. */
export interface BackendPlaces {
  /** Packages of the built-in backends, by short name. */
  readonly builtIn: Readonly<Record<string, string>>;
  /** `backendsDir` of the config. */
  readonly backendsDir?: string | undefined;
  /** Packages may lie beside it. */
  readonly configFile: string;
}

/**
 * Finds the backend that `name` means: a built-in one, an ES module by its absolute path, or a package.
 *
 * @returns what is wrong and what to do, instead of the place
 */
export async function findBackend(name: string, places: BackendPlaces): Promise<FoundBackend | string> {
  if (path.isAbsolute(name)) return findModule(name);
  const builtIn = Object.hasOwn(places.builtIn, name) ? places.builtIn[name] : undefined;
  if (builtIn !== undefined) return findBuiltIn(name, builtIn, places);
  if (/^\.{0,2}\//.test(name)) return 'a path to a backend’s module must be absolute';
  const names = Object.keys(places.builtIn);
  if (!packageName.test(name))
    return `names no backend: built in are ${names.join(', ')}; else a package or an absolute path`;
  const found = await findPackage(name, places);
  if (found !== undefined) return found;
  const near = nearest(name, names);
  if (near !== undefined) return `unknown backend; did you mean "${near}"?`;
  return `unknown backend: built in are ${names.join(', ')}; ${notInstalled(name, places)}`;
}

/** A built-in backend is a part of this server's bundle where it can be, else a package that Node finds from here. */
async function findBuiltIn(name: string, ofPackage: string, places: BackendPlaces): Promise<FoundBackend | string> {
  const bundled = new URL(`./backend-${name}.js`, import.meta.url);
  if (existsSync(bundled)) {
    // In the bundle, whose chunks of a backend begin with its name, or the source that a chunk's map names.
    const paths = [fileURLToPath(bundled).replace(/\.js$/, ''), `/backend-${name}/src/`];
    return { name: ofPackage, version, paths, url: bundled.href };
  }
  return (await findPackage(ofPackage, places)) ?? notInstalled(ofPackage, places);
}

async function findModule(file: string): Promise<FoundBackend | string> {
  try {
    await readTrustedFile(file, FORBIDDEN_MODE, { maxBytes: MAX_MODULE_BYTES });
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    return error.message;
  }
  const manifest = nearestManifest(path.dirname(file));
  return { name: manifest?.name ?? file, version: manifest?.version, paths: [file], url: pathToFileURL(file).href };
}

/** Node's own rules, from `backendsDir`, then from beside the config file, then from this server. */
async function findPackage(name: string, places: BackendPlaces): Promise<FoundBackend | string | undefined> {
  for (const place of placesToLook(places)) {
    for (let directory = place; ; directory = path.dirname(directory)) {
      const folder = path.join(directory, 'node_modules', name);
      const manifest = readManifest(folder);
      if (manifest !== undefined) {
        const entry = entryOf(folder, manifest);
        if (entry === undefined) return `package ${name} in ${folder} has no main module for import; ask its maker`;
        const found = await findModule(entry);
        if (typeof found === 'string') return found;
        return { name, version: manifest.version, paths: [`${realpathSync(folder)}/`], url: found.url };
      }
      if (directory === path.dirname(directory)) break;
    }
  }
  return undefined;
}

function placesToLook({ backendsDir, configFile }: BackendPlaces): readonly string[] {
  const here = path.dirname(fileURLToPath(import.meta.url));
  return [...(backendsDir === undefined ? [] : [backendsDir]), path.dirname(path.resolve(configFile)), here];
}

function entryOf(folder: string, manifest: Manifest): string | undefined {
  try {
    const [entry] = exportsOf(manifest, '.') ?? [legacy(manifest, { browser: false }) ?? 'index.js'];
    return typeof entry === 'string' ? path.join(folder, entry) : undefined;
  } catch {
    // The library throws where `exports` leads nowhere.
    return undefined;
  }
}

function nearestManifest(directory: string): Manifest | undefined {
  for (let at = directory; at !== path.dirname(at); at = path.dirname(at)) {
    const manifest = readManifest(at);
    if (manifest?.name !== undefined) return manifest;
  }
  return undefined;
}

function readManifest(folder: string): Manifest | undefined {
  try {
    return manifestSchema.parse(JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')));
  } catch {
    return undefined;
  }
}

function notInstalled(name: string, places: BackendPlaces): string {
  const where = placesToLook(places).slice(0, -1);
  return `package ${name} is not installed in ${where.join(' or ')}; run: npm install --prefix ${where[0] ?? '.'} ${name}`;
}

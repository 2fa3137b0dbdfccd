import { readFile, writeFile } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { z } from 'zod';
import { figureSchema } from './figure.js';

const reportSchema = z.object({
  measuredAt: z.string(),
  machine: z.object({
    processor: z.string(),
    cores: z.number(),
    memoryMb: z.number(),
    system: z.string(),
    node: z.string(),
    /** Of the last minute, before and after: above 1 something else took part. */
    loadBefore: z.number(),
    loadAfter: z.number(),
  }),
  figures: z.array(figureSchema),
});

/** One run, for machines. */
export type Report = z.infer<typeof reportSchema>;

/** What the figures depend on besides Sealwax. */
export function machineNow(): Omit<Report['machine'], 'loadAfter'> {
  return {
    processor: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryMb: Math.round(totalmem() / 2 ** 20),
    system: `${process.platform} ${release()} ${process.arch}`,
    node: process.version,
    loadBefore: load(),
  };
}

export function load(): number {
  return Math.round((loadavg()[0] ?? 0) * 10) / 10;
}

/** @throws when it is no report of a run */
export async function readReport(file: string): Promise<Report> {
  return reportSchema.parse(JSON.parse(await readFile(file, 'utf8')));
}

export async function writeReport(file: string, report: Report): Promise<void> {
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`);
}

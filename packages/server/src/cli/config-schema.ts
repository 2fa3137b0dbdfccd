import { z } from 'zod';
import { configSchema } from '../config/schema.js';
import { BUILT_IN, configJsonSchema, importBackend } from '../load-backend.js';

/** `sealwax config schema`: the JSON Schema of the config file, with the section of every built-in backend that is installed. */
export async function printConfigSchema(): Promise<void> {
  const schema = z.toJSONSchema(configSchema, { io: 'input' });
  const sections: object[] = [];
  for (const [name, packageName] of Object.entries(BUILT_IN)) {
    const module = await importBackend(packageName);
    if (typeof module === 'string') continue;
    sections.push({
      if: { properties: { backend: { const: name } } },
      then: { properties: { config: configJsonSchema(module) ?? {} } },
    });
  }
  const { items } = schema.properties?.['keys'] as { items: object };
  Object.assign(items, { allOf: sections });
  console.log(JSON.stringify({ ...schema, title: 'Sealwax config' }, undefined, 2));
}

import { z } from 'zod';
import { configSchema } from '../config/schema.js';
import { BUILT_IN, configJsonSchema, importBackend } from '../load-backend.js';

/** `sealwax config schema`: the JSON Schema of the config file, with the section of every built-in backend that is installed. */
export async function printConfigSchema(): Promise<void> {
  const schema = z.toJSONSchema(configSchema, { io: 'input' });
  const sections: object[] = [];
  for (const name of Object.keys(BUILT_IN)) {
    const imported = await importBackend(name, { configFile: 'config.yaml' });
    if (typeof imported === 'string') continue;
    sections.push({
      if: { properties: { backend: { const: name } } },
      then: { properties: { config: configJsonSchema(imported.module) ?? {} } },
    });
  }
  const { items } = schema.properties?.['keys'] as { items: object };
  Object.assign(items, { allOf: sections });
  console.log(JSON.stringify({ ...schema, title: 'Sealwax config' }, undefined, 2));
}

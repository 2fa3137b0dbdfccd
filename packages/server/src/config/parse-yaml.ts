import { ConfigError } from '@sealwax/core';
import { isAlias, LineCounter, parseDocument, visit, type Document, type ErrorCode } from 'yaml';

/** What the library says for these quotes the text, and with it perhaps a secret that stands in the wrong file. */
const INSTEAD: Partial<Record<ErrorCode, string>> = {
  UNEXPECTED_TOKEN: 'not valid YAML: text that does not belong here; a quote, a bracket or an indent may be missing',
  BAD_DQ_ESCAPE: 'an escape sequence that YAML does not know; single quotes take "\\" as it is',
  BAD_DIRECTIVE: 'a directive ("%") that is not understood',
  BAD_COLLECTION_TYPE: 'a tag ("!") that does not fit its value',
  TAG_RESOLVE_FAILED: 'a tag ("!") that is not understood',
  MULTIPLE_DOCS: 'the config is one YAML document; remove what follows "---" or "..."',
  NON_STRING_KEY: 'a key must be plain text',
};

/** A YAML text and what it says. */
export interface ParsedYaml {
  readonly value: unknown;
  readonly document: Document;
  /** `<file>:<line>` */
  readonly place: (offset: number) => string;
}

/**
 * Parses `text`, one YAML document whose keys are strings.
 *
 * @throws {ConfigError} each line of the message is `<file>:<line>: <what is wrong>`; nothing of the text is in it
 */
export function parseYaml(text: string, file: string): ParsedYaml {
  const lines = new LineCounter();
  // prettyErrors and warnings would quote the text.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    logLevel: 'error',
  });
  const place = (offset: number) => `${file}:${lines.linePos(offset).line}`;
  if (document.errors.length > 0) {
    const faults = document.errors.map(({ pos, code, message }) => `${place(pos[0])}: ${INSTEAD[code] ?? message}`);
    throw new ConfigError('', [...new Set(faults)].join('\n'));
  }
  try {
    return { value: document.toJS(), document, place };
  } catch (error) {
    // The library's own error names the alias.
    if (!(error instanceof ReferenceError)) throw error;
    throw new ConfigError(
      '',
      `${place(firstAlias(document))}: an alias ("*") without an anchor ("&") before it, or too many of them`,
    );
  }
}

/** Where the first alias begins that leads nowhere, or the first of all. */
function firstAlias(document: Document): number {
  const starts: { readonly start: number; readonly leads: boolean }[] = [];
  visit(document, (_key, node) => {
    if (isAlias(node)) starts.push({ start: node.range?.[0] ?? 0, leads: node.resolve(document) !== undefined });
  });
  return (starts.find(({ leads }) => !leads) ?? starts[0])?.start ?? 0;
}

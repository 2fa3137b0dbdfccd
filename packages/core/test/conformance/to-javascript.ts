import ts from 'typescript';

/** A module without its types, for processes that this test runner does not run. */
export function toJavaScript(source: string): string {
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true },
  });
  return outputText;
}

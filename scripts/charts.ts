// Writes what the charts repeat: the services' values.schema.json, which is the library's, the helpers for values in rabbitmq and
// postgresql, which are the library's, too, and the tables of values in the READMEs, from the comments in values.yaml. With --check
// it only reports which of them are out of date.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { files, read, root } from './tree.ts';

const LIBRARY = 'chassis';

const charts = files('charts/*/Chart.yaml').map((file) => file.split('/')[1] as string);
const isService = (chart: string) =>
  read(`charts/${chart}/Chart.yaml`).includes(`name: ${LIBRARY}\n    version`);

for (const [file, wanted] of generated()) {
  if (existsSync(join(root, file)) && same(file, read(file), wanted)) continue;
  if (process.argv.includes('--check')) {
    console.error(`${file} is out of date: run \`make charts\``);
    process.exitCode = 1;
  } else {
    writeFileSync(join(root, file), wanted);
    console.log(file);
  }
}

/** Path and content of every generated file. */
function* generated(): Generator<[file: string, content: string]> {
  const helpers = read(`charts/${LIBRARY}/templates/_values.tpl`);
  const [about] = /^\{\{\/\*[\s\S]*?\*\/\}\}/.exec(helpers) as RegExpExecArray;
  for (const chart of charts.filter((name) => name !== LIBRARY && !isService(name)))
    yield [
      `charts/${chart}/templates/_values.tpl`,
      helpers
        .replace(
          about,
          `{{/* A copy of charts/${LIBRARY}/templates/_values.tpl under this chart's name, from \`make charts\`. */}}`,
        )
        .replaceAll(`"${LIBRARY}.`, `"${chart}.`),
    ];
  const library = JSON.parse(read(`charts/${LIBRARY}/values.schema.json`));
  const { global, ...properties } = library.properties;
  const schema = { ...library, properties: { global, [LIBRARY]: { type: 'object' }, ...properties } };
  for (const chart of charts) {
    if (isService(chart))
      yield [`charts/${chart}/values.schema.json`, `${JSON.stringify(schema, null, 2)}\n`];
    const readme = `charts/${chart}/README.md`;
    if (!existsSync(join(root, readme))) continue;
    const [before, after] = read(readme).split(/(?<=<!-- values -->\n)[\s\S]*(?=<!-- \/values -->)/);
    yield [readme, `${before}${tableOf(`charts/${chart}/values.yaml`)}${after ?? ''}`];
  }
}

/** JSON is the same however it is laid out. */
function same(file: string, is: string, wanted: string): boolean {
  const normal = (text: string) => (file.endsWith('.json') ? JSON.stringify(JSON.parse(text)) : text);
  return normal(is) === normal(wanted);
}

/** The table of a values.yaml: a row for every key that a comment `# -- …` stands above. */
function tableOf(file: string): string {
  const rows = ['| value | default | what it is |', '| --- | --- | --- |'];
  const path: { indent: number; key: string }[] = [];
  let description = '';
  for (const line of read(file).split('\n')) {
    const comment = /^\s*# (--)? ?(.*)$/.exec(line);
    if (comment) {
      if (comment[1]) description = comment[2] ?? '';
      else if (description) description += ` ${comment[2]}`;
      continue;
    }
    const [, space = '', key, value = ''] = /^(\s*)([\w.-]+):\s*(.*)$/.exec(line) ?? [];
    if (key === undefined) continue;
    while ((path.at(-1)?.indent ?? -1) >= space.length) path.pop();
    path.push({ indent: space.length, key });
    if (description) {
      // Where a service keeps its own defaults is not where values of users go.
      const name = path
        .map((part) => part.key)
        .join('.')
        .replace(`${LIBRARY}.`, '');
      rows.push(
        `| \`${name}\` | ${value ? `\`${value}\`` : 'see values.yaml'} | ${description.replaceAll('|', '\\|')} |`,
      );
    }
    description = '';
  }
  return `${rows.join('\n')}\n`;
}

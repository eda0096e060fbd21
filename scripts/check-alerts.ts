// Every alert of the charts has a `runbook_url` that leads to its section in the docs, and every section there has an alert.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { files, read, root } from './tree.ts';

const PAGE = 'docs/reference/alerts.md';

interface Alert {
  file: string;
  name: string;
  /** Path and anchor; undefined where there is none. */
  runbook: string | undefined;
}

export function checkAlerts(): string[] {
  const alerts = [
    ...files('charts/*/templates/*').flatMap((file) =>
      alertsOf(file, /- alert: (\w+)$/m, /runbook_url:.*?(docs\/[\w/-]+\.md#[\w-]+)/),
    ),
    ...files('charts/*/values*.yaml').flatMap((file) =>
      alertsOf(file, /^ +(?:- )?alert: (\w+)$/m, /^ +(?:- )?runbook: (\S+)$/m),
    ),
  ];
  const names = new Set(alerts.map(({ name }) => name));
  return [
    ...alerts.flatMap(problemsOf),
    ...headings(PAGE)
      .filter((heading) => /^### /.test(heading) && !names.has(heading.slice(4)))
      .map((heading) => `${PAGE} describes ${heading.slice(4)}, which is not an alert of a chart`),
  ];
}

/** The alerts of a file; the runbook is searched up to the next alert. */
function alertsOf(file: string, alert: RegExp, runbook: RegExp): Alert[] {
  const [, ...parts] = read(file).split(new RegExp(alert, 'gm'));
  const alerts: Alert[] = [];
  for (let at = 0; at + 1 < parts.length; at += 2)
    alerts.push({ file, name: parts[at] as string, runbook: runbook.exec(parts[at + 1] as string)?.[1] });
  return alerts;
}

function problemsOf({ file, name, runbook }: Alert): string[] {
  if (runbook === undefined)
    return [`${file}: the alert ${name} has no runbook: add ${PAGE}#${name.toLowerCase()}`];
  const [page = '', anchor] = runbook.split('#');
  const sections = existsSync(join(root, page)) ? headings(page) : [];
  return sections.some((heading) => anchorOf(heading) === anchor)
    ? []
    : [`${file}: the runbook ${runbook} of the alert ${name} does not exist: write it`];
}

const headings = (page: string): string[] => read(page).match(/^#{1,6} .+$/gm) ?? [];

/** As GitHub makes it. */
const anchorOf = (heading: string): string =>
  heading
    .replace(/^#+ /, '')
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');

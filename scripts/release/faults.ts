// What must fit before something is released: versions that repeat each other, and the dated entry of the changelog.
import { read } from '../tree.ts';
import { chartField, isThere, type Unit } from './units.ts';

const VERSION = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$/;
/** `## [0.1.0] - 2026-11-30`, as Keep a Changelog has it. */
const HEADING = /^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?$/gm;

/** What differs at any time; `make check` finds it. */
export function faultsOf(unit: Unit): string[] {
  return [...versionFaults(unit), ...changelogFaults(unit)].map((fault) => `${unit.directory}: ${fault}`);
}

/** What must not be so at the release alone: entries without a date. */
export function unreleased({ directory }: Unit): string[] {
  const [first, second] = headings(directory);
  const text = read(`${directory}/CHANGELOG.md`);
  return first?.name === 'Unreleased' && text.slice(first.end, second?.start).trim() !== ''
    ? [`${directory}/CHANGELOG.md has entries under Unreleased: give them a version and a date`]
    : [];
}

function versionFaults(unit: Unit): string[] {
  const { directory, version } = unit;
  if (!VERSION.test(version)) return [`the version “${version}” is not SemVer`];
  return unit.kind === 'chart' ? chartFaults(unit) : lockfileFaults(directory, version);
}

function lockfileFaults(directory: string, version: string): string[] {
  const file = `${directory}/package-lock.json`;
  if (!isThere(file)) return [];
  const locked = JSON.parse(read(file)).version;
  return locked === version
    ? []
    : [`package-lock.json says ${locked}, and package.json ${version}: run npm install`];
}

function chartFaults({ directory, appVersion }: Unit): string[] {
  const service = directory.replace('charts/', 'services/');
  const deployed = isThere(`${service}/package.json`)
    ? JSON.parse(read(`${service}/package.json`)).version
    : undefined;
  const library = chartField('charts/chassis', 'version');
  const wanted = chartField(directory, 'version', '    ');
  return [
    ...(deployed === undefined || deployed === appVersion
      ? []
      : [`appVersion is ${appVersion}, and ${service} has ${deployed}: change it, and release the chart`]),
    ...(wanted === undefined || wanted === library
      ? []
      : [
          `it depends on chassis ${wanted}, and charts/chassis has ${library}: change it, and release the chart`,
        ]),
  ];
}

function changelogFaults({ directory, version }: Unit): string[] {
  if (!isThere(`${directory}/CHANGELOG.md`)) return ['CHANGELOG.md is missing'];
  const newest = headings(directory).find(({ name }) => name !== 'Unreleased');
  if (newest?.name !== version)
    return [
      `its version is ${version}, and CHANGELOG.md ${newest ? `ends with ${newest.name}` : 'has no release'}`,
    ];
  return newest.date === undefined || Number.isNaN(Date.parse(newest.date))
    ? [`CHANGELOG.md has no date for ${version}: write “## [${version}] - YYYY-MM-DD”`]
    : [];
}

function headings(directory: string) {
  return [...read(`${directory}/CHANGELOG.md`).matchAll(HEADING)].map(
    ({ 0: line, 1: name, 2: date, index }) => ({
      name,
      date,
      start: index,
      end: index + line.length,
    }),
  );
}

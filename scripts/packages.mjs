// Installs what npm does not: the dependencies of the `file:` packages, each in its own directory.
//   node scripts/packages.mjs              the shared packages alone; every service's `preinstall` calls this
//   node scripts/packages.mjs --services   the shared packages, then the services; and the directories that are named besides
//   node scripts/packages.mjs --all        the shared packages, the services, the tools of the root, bench, e2e/* and examples/*
// A directory is left alone when it is installed as its package.json and lockfile say.
// Plain JavaScript without dependencies: it runs on Node 20, before anything is there.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const atOnce = 2;

// Set for the npm that runs below, whose `preinstall` hooks come back here.
if (process.env.WARREN_INSTALLING) process.exit(0);

const shared = directoriesIn('packages');
const services = directoriesIn('services');
const tools = ['.', 'bench', ...directoriesIn('e2e'), ...directoriesIn('examples')];
const named = process.argv.slice(3);
const stages = {
  '--services': [shared, [...services, ...named]],
  '--all': [shared, [...services, ...tools]],
}[process.argv[2]] ?? [shared];

if (stages.flat().some((directory) => !isInstalled(directory))) {
  const unlock = await lock(join(root, '.tools', 'install.lock'));
  try {
    for (const directories of stages) await installAll(directories);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  } finally {
    unlock();
  }
}

function directoriesIn(parent) {
  if (!existsSync(join(root, parent))) return [];
  return readdirSync(join(root, parent))
    .map((name) => `${parent}/${name}`)
    .filter((directory) => existsSync(join(root, directory, 'package.json')));
}

/** What an installation depends on; without the parts of package.json that change nothing in node_modules. */
function fingerprint(directory) {
  const { dependencies, devDependencies, optionalDependencies, overrides } = readJson(
    directory,
    'package.json',
  );
  const lockfile = join(root, directory, 'package-lock.json');
  const parts = [
    { dependencies, devDependencies, optionalDependencies, overrides },
    existsSync(lockfile) ? readFileSync(lockfile, 'utf8') : '',
    [process.platform, process.arch, process.env.npm_config_omit ?? ''],
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}

function stampOf(directory) {
  return join(root, directory, 'node_modules', '.warren-installed');
}

function isInstalled(directory) {
  const stamp = stampOf(directory);
  if (existsSync(stamp)) return readFileSync(stamp, 'utf8') === fingerprint(directory);
  if (!installedByHand(directory)) return false;
  writeFileSync(stamp, fingerprint(directory));
  return true;
}

/** Whether someone ran `npm install` there: npm's own record is then as young as the lockfile, give or take its order of writing. */
function installedByHand(directory) {
  const record = join(root, directory, 'node_modules', '.package-lock.json');
  const lockfile = join(root, directory, 'package-lock.json');
  if (!existsSync(record) || !existsSync(lockfile)) return false;
  const age = statSync(record).mtimeMs + 5000;
  return age >= statSync(lockfile).mtimeMs && age >= statSync(join(root, directory, 'package.json')).mtimeMs;
}

async function installAll(directories) {
  const queue = directories.filter((directory) => !isInstalled(directory));
  const width = Math.max(...directories.map((directory) => directory.length));
  const hands = Array.from({ length: atOnce }, async () => {
    for (let directory = queue.shift(); directory; directory = queue.shift()) await install(directory, width);
  });
  const failed = (await Promise.allSettled(hands)).find(({ status }) => status === 'rejected');
  if (failed) throw failed.reason;
}

async function install(directory, width) {
  const name = `install: ${(directory === '.' ? 'tools' : directory).padEnd(width)}`;
  const started = Date.now();
  console.log(`${name}  ...`);
  if (existsSync(join(root, directory, 'package-lock.json'))) {
    const { code, output } = await npm(directory, 'ci');
    if (code !== 0) {
      const outdated = /npm error code EUSAGE/.test(output);
      if (!outdated || process.env.CI) throw failure(directory, 'npm ci', output);
      console.log(`${name}  its lockfile does not match its package.json: regenerating it`);
      await npmInstall(directory);
    }
  } else {
    await npmInstall(directory);
  }
  const record = readIfThere(join(root, directory, 'node_modules', '.package-lock.json'));
  const count = record ? Object.keys(JSON.parse(record).packages).length : 0;
  mkdirSync(join(root, directory, 'node_modules'), { recursive: true });
  writeFileSync(stampOf(directory), fingerprint(directory));
  console.log(`${name}  ${count} packages in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

async function npmInstall(directory) {
  const { code, output } = await npm(directory, 'install');
  if (code !== 0) throw failure(directory, 'npm install', output);
}

function failure(directory, command, output) {
  return new Error(
    `${output.trim()}\n\`${command}\` failed in ${join(root, directory)}; see npm's output above.`,
  );
}

function npm(directory, command) {
  const args = [
    command,
    '--no-audit',
    '--no-fund',
    '--no-update-notifier',
    '--prefer-offline',
    '--loglevel=error',
  ];
  const child = spawn('npm', args, {
    cwd: join(root, directory),
    env: { ...ownEnvironment(), WARREN_INSTALLING: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (chunk) => (output += chunk));
  child.stderr.on('data', (chunk) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on('error', (cause) => reject(new Error('Cannot run npm: add it to the PATH.', { cause })));
    child.on('close', (code) => resolve({ code, output }));
  });
}

/** The environment without what an npm that called this tells its scripts about its own package. */
function ownEnvironment() {
  const foreign =
    /^npm_(package|lifecycle|command|execpath|node_execpath|config_(local_prefix|prefix|global_prefix))/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !foreign.test(name)));
}

/** Two installations at once in one directory spoil each other: the second waits. Returns the release. */
async function lock(path) {
  mkdirSync(join(path, '..'), { recursive: true });
  for (let said = false; ; await setTimeout(200)) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      return () => rmSync(path, { force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = Number(readIfThere(path));
    if (holder && !isAlive(holder)) {
      rmSync(path, { force: true });
    } else if (!said) {
      console.log('install: waiting for another installation in this checkout');
      said = true;
    }
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function readJson(directory, file) {
  return JSON.parse(readFileSync(join(root, directory, file), 'utf8'));
}

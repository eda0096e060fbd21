// The target of a request line, read so that it means the same to every server. Pure.
import { problem } from '@warren/chassis';

export interface Target {
  /** Plain and normalized: every server parses it in the same way. */
  path: string;
  /** With its question mark; empty if there is no query. */
  query: string;
}

/** Characters of a request target; a longer one gets 414. */
const LONGEST = 8_000;

// What RFC 3986 lets stand for itself in a path, without the semicolon (which some take for the end of a segment), and
// nothing percent-encoded: no name or id of ours needs it, and every trick does. Segments of dots alone, and empty ones,
// are where parsers differ; one slash at the end is harmless.
const PLAIN = /^\/(?:(?!\.+(?:\/|$))[\w.~!$&'()*+,=:@-]+(?:\/(?!\/|$)|\/?$))*$/;
const QUERY = /^(?:\?[!"$-~]*)?$/;
const ABSOLUTE = /^https?:\/\/[\w.:[\]-]+(?=[/?]|$)/i;

/**
 * Reads the target of a request line. Of the absolute form (RFC 9112, 3.2.2) only path and query count: this is the origin.
 * @throws {Problem} 400 `path_refused` for every path that is not plain, 414 for one that is too long
 */
export function readTarget(raw: string): Target {
  if (raw.length > LONGEST)
    throw problem(414, { detail: `The request target exceeds the limit of ${LONGEST} characters.` });
  const target = raw.replace(ABSOLUTE, '');
  const at = target.indexOf('?');
  const path = (at < 0 ? target : target.slice(0, at)) || (target === raw ? '' : '/');
  const query = at < 0 ? '' : target.slice(at);
  if (PLAIN.test(path) && QUERY.test(query)) return { path, query };
  throw problem(400, {
    title: 'Path refused',
    code: 'path_refused',
    detail:
      'A path may contain segments of letters, digits and -._~!$&\'()*+,=:@ between single slashes. Percent-encoding, "." and ".." segments and fragments are not allowed.',
  });
}

// What DATABASE_URL may say, beyond being a URL: the client connects to one address.
import { Joi } from '@warren/events';

const FAILOVER =
  'name one address that leads to the primary at all times: a DNS name, a Kubernetes service or a pooler follows a failover';

/** One host, and no choice among several. A URL without a host, whose parameter `host` names a Unix socket, is given one. */
export const oneHost: Joi.StringSchema = Joi.string()
  .custom((value: string, helpers) => {
    const authority = value.replace(/^[^:]*:\/\//, '').split(/[/?#]/, 1)[0] as string;
    const query = new URLSearchParams(value.split('?')[1] ?? '');
    const hosts = [authority.slice(authority.lastIndexOf('@') + 1), ...query.getAll('host')];
    if (hosts.some((host) => host.includes(','))) return helpers.error('hosts.several');
    const attributes = query.get('target_session_attrs') ?? 'any';
    if (attributes !== 'any') return helpers.error('hosts.attributes');
    return authority.endsWith('@') ? value.replace('@/', '@localhost/') : value;
  })
  .messages({
    'hosts.several': `must not have several hosts; ${FAILOVER}`,
    'hosts.attributes': `must not have target_session_attrs; ${FAILOVER}`,
  });

// Personal fields: those that identify a person directly. A schema marks them with `.meta({ personal: true })`; ids are not
// marked: without the database of the service that made them, they identify no person.
import type Joi from 'joi';

/** What Joi's `describe()` returns, as far as it is read here. */
interface Description {
  metas?: { personal?: boolean }[];
  keys?: Record<string, Description>;
  items?: Description[];
  matches?: { schema?: Description }[];
}

/**
 * The paths of the personal fields of an event's data, in the order of its schema; `*` stands for every item of a list.
 * @example
 * personalFields(userCreated); // [['name'], ['email']]
 */
export function personalFields({ schema }: { readonly schema: Joi.Schema }): string[][] {
  const paths = pathsIn(schema.describe() as Description);
  return [...new Map(paths.map((path) => [path.join('\n'), path])).values()];
}

/** Below a personal field nothing is listed: all of it is personal. */
function pathsIn({ metas = [], keys = {}, items = [], matches = [] }: Description): string[][] {
  if (metas.some(({ personal }) => personal === true)) return [[]];
  const below = (name: string, description: Description) =>
    pathsIn(description).map((path) => [name, ...path]);
  return [
    ...Object.entries(keys).flatMap(([name, description]) => below(name, description)),
    ...items.flatMap((description) => below('*', description)),
    ...matches.flatMap(({ schema = {} }) => pathsIn(schema)),
  ];
}

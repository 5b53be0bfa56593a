/** swagger-ui-bundle.js, as far as the page uses it. */
declare function SwaggerUIBundle(options: Readonly<Record<string, unknown>>): {
  readonly layoutActions: { updateFilter(text: string): void };
};

/** Swagger UI's operations by tag: an ordered map of immutable.js. */
interface Collection {
  map(change: (tag: Tag) => Tag): Collection;
  filter(keep: (tag: Tag) => boolean): Collection;
}

interface Tag {
  get(field: "operations"): Operations;
  update(field: "operations", change: (operations: Operations) => Operations): Tag;
}

interface Operations {
  readonly size: number;
  filter(keep: (operation: { get(field: "path"): string }) => boolean): Operations;
}

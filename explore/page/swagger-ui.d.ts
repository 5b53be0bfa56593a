/** swagger-ui-bundle.js, as far as the page uses it. */
declare function SwaggerUIBundle(options: Readonly<Record<string, unknown>>): void;

// Apart from the page: its content policy allows no inline script. The search would start a worker from a blob, which it
// does not allow either.
const place = document.getElementById("redoc-ui");
Redoc.init(place.dataset.schema, { disableSearch: true, hideDownloadButton: false }, place);

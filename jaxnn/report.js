// Each header of a sortable table becomes a button; without JavaScript the table stays as it is, best first.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const order = turned[header.getAttribute("aria-sort")] ?? header.dataset.first;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const text = header.classList.contains("text");
      const key = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
        return sign * (text ? a.localeCompare(b) : a - b);
      };
      body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b))));
    });
  });
}

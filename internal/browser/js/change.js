// Changes the element that act.js found ready.
lastmile.change = (() => {
  const announce = (el) => {
    el.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    el.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const textOf = (el) => (el.isContentEditable ? el.textContent : el.value);
  const bare = (text) => text.replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();

  return {
    // Chooses an option by its value, else by its text.
    select: (value) => {
      const el = lastmile.current;
      const options = [...el.options];
      const option = options.find((o) => o.value === value) ?? options.find((o) => o.text.trim() === value.trim());
      if (!option || option.disabled) return { state: "missing", got: options.length };
      el.focus();
      el.value = option.value;
      option.selected = true;
      announce(el);
      return { state: "done" };
    },
    // Whether a checkbox or radio button has to be pressed for the value.
    toggle: (value) => {
      const el = lastmile.current;
      const on = ["true", "on", "checked", el.value].includes(value);
      if (!on && !["false", "off", "unchecked", ""].includes(value)) return { state: "refused" };
      if (el.checked === on) return { state: "done" };
      return { state: el.type === "radio" && !on ? "refused" : "press" };
    },
    // Focuses a text field with all its text selected, so that what is typed replaces it.
    begin: (value) => {
      const el = lastmile.current;
      if (textOf(el) === value) return { state: "done" };
      el.focus();
      if (el.isContentEditable) getSelection().selectAllChildren(el);
      else el.select();
      if (value === "") {
        document.execCommand("delete");
        return { state: "done" };
      }
      return { state: "type" };
    },
    // Whether a field has the value; a mask may add signs of its own (spaces, dashes, brackets).
    holds: (value) => {
      const got = textOf(lastmile.current);
      const same = got === value || (bare(value) !== "" && bare(got) === bare(value));
      return { state: same ? "done" : "differs", got: got.length };
    },
    // Sets what cannot be typed: dates, colours, ranges.
    set: (value) => {
      const el = lastmile.current;
      if (el.type === "file") return { state: "refused" };
      el.focus();
      el.value = value;
      if (el.value !== value) return { state: "refused" };
      announce(el);
      return { state: "done" };
    },
  };
})();

// Changes the element that act.js found ready.
lastmile.change = (() => {
  const announce = (el) => {
    el.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
    el.dispatchEvent(new Event("change", { bubbles: true }));
  };
  const textOf = (el) => (el.isContentEditable ? el.innerText : el.value);
  const bare = (text) => text.replace(/[^\p{L}\p{N}]/gu, "").toLowerCase();
  const focused = (el) => el.matches(":focus") || el.matches(":focus-within");

  const toEnd = (el) => {
    if (el.isContentEditable) {
      getSelection().selectAllChildren(el);
      getSelection().collapseToEnd();
      return;
    }
    const value = el.value; // a field for numbers has no selection to set, but a new value leaves the caret at its end
    el.value = "";
    el.value = value;
  };

  const edits = {
    // Chooses options by their values, else by their texts; "" for which there is none chooses none.
    select: (el, value) => {
      const options = [...el.options];
      const wanted = options.filter((o) => o.value === value);
      const chosen = wanted.length > 0 ? wanted : options.filter((o) => o.text.trim() === value.trim());
      if (value !== "" && !chosen.some((o) => !o.disabled)) return { state: "missing", got: options.length };
      el.focus();
      const one = chosen.find((o) => !o.disabled);
      for (const o of options) o.selected = el.multiple ? chosen.includes(o) : o === one;
      announce(el);
      return { state: "done" };
    },
    // Whether a checkbox, a radio button or a switch has to be pressed for the value, which is on unless it says off.
    toggle: (el, value) => {
      const wanted = !["", "false", "off", "unchecked"].includes(value);
      const said = el.getAttribute("aria-checked");
      const is = el.indeterminate || said === "mixed" ? undefined : el instanceof HTMLInputElement ? el.checked : said === "true";
      return { state: is === wanted ? "done" : "press" };
    },
    // Prepares a text field for typing: what is typed replaces its text, or goes on from it. rest says what is left to type.
    begin: (el, value) => {
      const now = textOf(el);
      if (now === value) return { state: "done" };
      el.focus();
      if (now !== "" && value.startsWith(now)) {
        toEnd(el);
        return { state: "type", rest: [...value.slice(now.length)].length };
      }
      if (el.isContentEditable) getSelection().selectAllChildren(el);
      else el.select();
      if (value !== "") return { state: "type", rest: [...value].length };
      document.execCommand("delete");
      return { state: "done" };
    },
    // Whether a field has the value; a mask may add signs of its own (spaces, dashes, brackets).
    holds: (el, value) => {
      const got = textOf(el);
      if (got === value || (bare(value) !== "" && bare(got) === bare(value))) return { state: "done" };
      if (!focused(el)) return { state: "left" }; // the page moved on to the next field, say
      return { state: got.trim() === "" ? "emptied" : "differs", got: [...got].length };
    },
    // What a person who pastes causes beside the input.
    changed: (el) => {
      el.dispatchEvent(new Event("change", { bubbles: true }));
      return { state: "done" };
    },
    // Sets what cannot be typed: dates, colours, ranges.
    set: (el, value) => {
      if (el.type === "file") return { state: "refused" };
      el.focus();
      if (el.value === value) return { state: "done" };
      el.value = value;
      if (el.value !== value) return { state: "refused" };
      announce(el);
      return { state: "done" };
    },
    // Scrolls what is inside the element to a place.
    scroll: async (el, _, left, top) => {
      el.scrollTo({ left, top, behavior: "instant" });
      await lastmile.act.frame();
      return { state: "done" };
    },
  };

  return (name, value, ...more) => {
    const el = lastmile.act.current();
    return el ? edits[name](el, value, ...more) : { state: "gone" };
  };
})();

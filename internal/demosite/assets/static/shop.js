// The shop's whole script: cart in localStorage, the rest of the shelf, stock, and the order.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const euro = (cents) => "€" + (cents / 100).toFixed(2);

  // make builds an element; text goes in as text, never as markup.
  const make = (tag, attributes = {}, ...children) => {
    const el = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
    el.append(...children);
    return el;
  };

  const cart = {
    read() {
      try {
        const items = JSON.parse(localStorage.getItem("cart") || "[]");
        return Array.isArray(items) ? items.filter((i) => i && typeof i.id === "string" && i.quantity > 0) : [];
      } catch {
        return [];
      }
    },
    add(id) {
      const items = this.read();
      const known = items.find((i) => i.id === id);
      if (known) known.quantity = Math.min(known.quantity + 1, 20);
      else items.push({ id, quantity: 1 });
      localStorage.setItem("cart", JSON.stringify(items));
    },
    clear() {
      localStorage.removeItem("cart");
    },
  };

  const get = async (url) => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(url + " answered " + response.status);
    return response.json();
  };

  const showCount = () => {
    const n = cart.read().reduce((sum, i) => sum + i.quantity, 0);
    const badge = $("#cart-count");
    badge.textContent = n;
    badge.hidden = n === 0;
  };

  const showName = () => {
    const found = document.cookie.match(/(?:^|; )shop_name=([a-z]+)/);
    if (found) $("#account").textContent = found[1];
  };

  const card = (p) =>
    make("article", { class: "card", "data-id": p.id },
      make("img", { src: p.image, width: 400, height: 300, alt: "" }),
      make("div", { class: "card-text" },
        make("h3", {}, make("a", { href: "/product/" + p.id }, p.name)),
        make("p", {}, p.line),
        make("p", { class: "price" }, p.price)));

  const showMore = async (shelf) => {
    try {
      const { products } = await get("/api/products");
      shelf.replaceChildren(...products.slice(Number(shelf.dataset.skip)).map(card));
    } catch {
      shelf.replaceChildren(make("p", { class: "notice bad", role: "alert" }, "The rest of the shelf did not load."));
    }
    shelf.setAttribute("aria-busy", "false");
  };

  const showProduct = async (detail) => {
    const id = detail.dataset.product;
    $("#add").addEventListener("click", () => {
      cart.add(id);
      showCount();
      $("#added").hidden = false;
    });
    try {
      const { quantity } = await get("/api/stock/" + id);
      $("#stock").textContent = quantity > 0 ? quantity + " on the shelf" : "Sold out, back in two weeks";
      $(".stock").classList.toggle("none", quantity === 0);
    } catch {
      $("#stock").textContent = "The shelf is out of sight right now";
    }
  };

  // An empty cart becomes one of today's pick, so that a checkout always has something to sell.
  const basket = (products, fill) => {
    const items = cart.read().map((i) => ({ ...i, product: products.find((p) => p.id === i.id) })).filter((i) => i.product);
    if (items.length === 0 && fill) items.push({ id: products[0].id, quantity: 1, product: products[0] });
    return items;
  };

  const showCart = async (box, fill) => {
    try {
      const { products } = await get("/api/products");
      const items = basket(products, fill);
      const total = items.reduce((sum, i) => sum + i.quantity * i.product.price_cents, 0);
      if (items.length === 0) {
        box.replaceChildren(make("p", { class: "lead" }, "Nothing in it yet."));
      } else {
        box.replaceChildren(
          ...items.map((i) =>
            make("div", { class: "line" },
              make("img", { src: i.product.image, width: 64, height: 48, alt: "" }),
              make("div", {}, i.product.name, make("span", {}, i.quantity + " × " + i.product.price)),
              make("div", { class: "price" }, euro(i.quantity * i.product.price_cents)))),
          make("p", { class: "total" }, make("span", {}, "Total"), make("span", { id: "total" }, euro(total))));
      }
    } catch {
      box.replaceChildren(make("p", { class: "notice bad", role: "alert" }, "The prices did not load."));
    }
    box.setAttribute("aria-busy", "false");
  };

  const placeOrder = async (button) => {
    const error = $("#error");
    button.disabled = true;
    error.hidden = true;
    try {
      const response = await fetch("/api/orders", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ items: cart.read() }),
      });
      if (!response.ok) throw new Error("answered " + response.status);
      const order = await response.json();
      cart.clear();
      location.assign("/done?order=" + encodeURIComponent(order.id));
    } catch (problem) {
      error.textContent = "The order did not go through (" + problem.message + "). Please try again.";
      error.hidden = false;
      button.disabled = false;
    }
  };

  showCount();
  showName();
  const [shelf, detail, box, place] = ["#more", "[data-product]", "#cart", "#place"].map($);
  if (shelf) showMore(shelf);
  if (detail) showProduct(detail);
  if (box) showCart(box, Boolean(place));
  if (place) place.addEventListener("click", () => placeOrder(place));
})();

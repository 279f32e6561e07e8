package demosite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Bounds of what the API takes.
const (
	maxBody     = 16 << 10
	maxItems    = 20
	maxQuantity = 1_000_000
)

// app is the shop's server in one region; an edge stands in front of it.
type app struct {
	region   string
	primary  string
	work     time.Duration // what each response costs the origin
	distance time.Duration // from this region to the primary; zero in the primary
	accounts *accounts
	db       *database
	pages    *pages
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", api(a.health))
	mux.Handle("GET /api/products", api(a.listProducts))
	mux.Handle("GET /api/products/{id}", a.ofProduct(a.showProduct))
	mux.Handle("POST /api/login", api(a.apiLogin))
	mux.Handle("GET /api/me", a.ofUser(a.me))
	mux.Handle("GET /api/offers", a.ofUser(a.offers))
	mux.Handle("POST /api/orders", a.ofUser(a.placeOrder))
	mux.Handle("GET /api/orders/{id}", a.ofUser(a.showOrder))
	mux.Handle("DELETE /api/orders/{id}", a.ofUser(a.removeOrder))
	mux.Handle("GET /api/stock/{id}", a.ofProduct(a.showStock))
	mux.Handle("POST /api/stock/{id}", a.ofProduct(a.setStock))
	mux.HandleFunc("GET /assets/{name}", a.asset)
	mux.HandleFunc("GET /{$}", a.home)
	mux.HandleFunc("GET /product/{id}", a.product)
	mux.HandleFunc("GET /login", a.loginPage)
	mux.HandleFunc("POST /login", a.loginForm)
	mux.HandleFunc("GET /cart", a.cart)
	mux.HandleFunc("GET /checkout", a.checkout)
	mux.HandleFunc("GET /done", a.done)
	mux.HandleFunc("GET /", a.notFound)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		h.Set("Cache-Control", "no-store") // handlers that may be cached say so
		if r.URL.Path != "/healthz" && !wait(r.Context(), a.work) {
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		mux.ServeHTTP(w, r)
		h.Set("Server-Timing", fmt.Sprintf(`origin;desc="%s";dur=%.1f`, a.region, time.Since(began).Seconds()*1000))
	})
}

// wait sleeps for d and reports whether ctx outlived it.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer is a response of the API: a status and what to encode as JSON.
type answer struct {
	status int
	body   any
}

func ok(body any) answer { return answer{http.StatusOK, body} }

func refuse(status int, why string, args ...any) answer {
	return answer{status, map[string]string{"error": fmt.Sprintf(why, args...)}}
}

// api makes a handler of a function that answers in JSON.
func api(f func(http.Header, *http.Request) answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ans := f(w.Header(), r)
		if ans.body == nil {
			w.WriteHeader(ans.status)
			return
		}
		text, _ := json.Marshal(ans.body) // plain types of ours, which always encode
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(ans.status)
		_, _ = w.Write(append(text, '\n'))
	})
}

// ofUser is an api for signed-in users; nothing it answers may be shared.
func (a *app) ofUser(f func(user, http.Header, *http.Request) answer) http.Handler {
	return api(func(h http.Header, r *http.Request) answer {
		h.Set("Cache-Control", "private, no-store")
		h.Set("Vary", "Authorization, Cookie")
		u, known := a.accounts.user(r)
		if !known {
			h.Set("WWW-Authenticate", `Bearer realm="shop"`)
			return refuse(http.StatusUnauthorized, "sign in with POST /api/login, then send Authorization: Bearer <token>")
		}
		return f(u, h, r)
	})
}

// ofProduct is an api for addresses that end in a product's id.
func (a *app) ofProduct(f func(product, http.Header, *http.Request) answer) http.Handler {
	return api(func(h http.Header, r *http.Request) answer {
		p, known := a.pages.find(r.PathValue("id"))
		if !known {
			return refuse(http.StatusNotFound, "no such product")
		}
		return f(p, h, r)
	})
}

// decode reads a JSON body into v and returns the status that a bad body
// deserves. An empty body leaves v as it is.
func decode(r *http.Request, v any) (status int, err error) {
	if r.ContentLength == 0 {
		return http.StatusOK, nil
	}
	err = json.NewDecoder(r.Body).Decode(v)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return http.StatusRequestEntityTooLarge, fmt.Errorf("body is larger than %d bytes", maxBody)
	}
	if err != nil {
		return http.StatusBadRequest, errors.New("body is not the JSON object that this address takes")
	}
	return http.StatusOK, nil
}

func (a *app) health(http.Header, *http.Request) answer {
	return ok(map[string]string{"status": "ok", "region": a.region})
}

func (a *app) listProducts(h http.Header, _ *http.Request) answer {
	h.Set("Cache-Control", "public, max-age=5, s-maxage=60")
	h.Set("ETag", a.pages.tag)
	return ok(map[string][]product{"products": a.pages.products})
}

func (a *app) showProduct(p product, h http.Header, _ *http.Request) answer {
	h.Set("Cache-Control", "public, max-age=5, s-maxage=60")
	return ok(p)
}

func (a *app) apiLogin(h http.Header, r *http.Request) answer {
	var form struct{ Email, Password string }
	if status, err := decode(r, &form); err != nil {
		return refuse(status, "%v", err)
	}
	u, known := a.accounts.login(form.Email, form.Password)
	if !known {
		return refuse(http.StatusUnauthorized, "unknown e-mail address or wrong password")
	}
	token := a.accounts.token(u, time.Now())
	remember(h, u, token)
	return ok(map[string]string{"token": token, "user": u.email()})
}

func (a *app) me(u user, _ http.Header, _ *http.Request) answer {
	return ok(map[string]string{"user": u.email(), "canary": a.accounts.canary(u)})
}

// offers are the same for every member, and for members only: their browsers
// may keep them, caches between must not (RFC 9111, section 3.5).
func (a *app) offers(_ user, h http.Header, _ *http.Request) answer {
	h.Set("Cache-Control", "max-age=60")
	h.Del("Vary")
	first := a.pages.products[0]
	return ok(map[string]any{"offers": []map[string]any{{"id": first.ID, "price_cents": first.Price * 9 / 10}}})
}

// placeOrder buys the items of the body. Without items it buys the first
// featured product, so that the shortest script is a valid one.
func (a *app) placeOrder(u user, h http.Header, r *http.Request) answer {
	var form struct{ Items []item }
	if status, err := decode(r, &form); err != nil {
		return refuse(status, "%v", err)
	}
	if len(form.Items) == 0 {
		form.Items = []item{{ID: a.pages.products[0].ID, Quantity: 1}}
	}
	if len(form.Items) > maxItems {
		return refuse(http.StatusUnprocessableEntity, "got %d items, want at most %d", len(form.Items), maxItems)
	}
	var total money
	for _, it := range form.Items {
		p, known := a.pages.find(it.ID)
		if !known || it.Quantity < 1 || it.Quantity > maxItems {
			return refuse(http.StatusUnprocessableEntity,
				"each item needs the id of a product and a quantity from 1 to %d", maxItems)
		}
		total += p.Price * money(it.Quantity)
	}
	wait(r.Context(), a.distance)
	o := a.db.placeOrder(u, form.Items, total)
	h.Set("Location", "/api/orders/"+o.ID)
	return answer{http.StatusCreated, o}
}

func (a *app) showOrder(u user, _ http.Header, r *http.Request) answer {
	o, known := a.db.order(a.region, u, r.PathValue("id"))
	if !known {
		return refuse(http.StatusNotFound, "no such order in region %s (yet)", a.region)
	}
	return ok(o)
}

func (a *app) removeOrder(u user, _ http.Header, r *http.Request) answer {
	wait(r.Context(), a.distance)
	if !a.db.removeOrder(u, r.PathValue("id")) {
		return refuse(http.StatusNotFound, "no such order")
	}
	return answer{status: http.StatusNoContent}
}

func (a *app) showStock(p product, _ http.Header, _ *http.Request) answer {
	return ok(a.db.stock(a.region, p.ID))
}

// setStock is the warehouse's feed. It is open to everybody so that a
// replication check needs no account; the catalogue bounds what it can hold.
func (a *app) setStock(p product, _ http.Header, r *http.Request) answer {
	var form struct{ Quantity *int }
	if status, err := decode(r, &form); err != nil {
		return refuse(status, "%v", err)
	}
	if form.Quantity == nil || *form.Quantity < 0 || *form.Quantity > maxQuantity {
		return refuse(http.StatusUnprocessableEntity, "quantity is missing or not from 0 to %d", maxQuantity)
	}
	wait(r.Context(), a.distance)
	return ok(a.db.setStock(p.ID, *form.Quantity))
}

// asset serves an embedded file, compressed if the client takes it and it helps.
func (a *app) asset(w http.ResponseWriter, r *http.Request) {
	f, known := a.pages.files[r.PathValue("name")]
	if !known {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.mime)
	h.Set("Cache-Control", "public, max-age=3600")
	if r.URL.Query().Get("v") == f.version { // the address changes with the content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body, tag := f.plain, f.version
	if f.packed != nil {
		h.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			h.Set("Content-Encoding", "gzip")
			body, tag = f.packed, f.version+"-gzip"
		}
	}
	h.Set("ETag", `"`+tag+`"`)
	_, _ = w.Write(body)
}

package demosite

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"
)

//go:embed assets
var assets embed.FS

// featured is how many products the home page shows without script; the rest
// arrive by /api/products.
const featured = 4

// product is one thing on the shelf; its picture is the asset <ID>.svg.
type product struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Line  string `json:"line"` // one line under the name
	About string `json:"about"`
	Price money  `json:"price_cents"`
	Label string `json:"price"`
	Image string `json:"image"`
	Stock int    `json:"initial_stock"`
}

// file is one embedded asset, ready to serve.
type file struct {
	mime    string
	version string // hash of the content
	plain   []byte
	packed  []byte // gzip, nil where it would not help
}

// pages holds catalogue, templates and assets, shared by all regions and never
// changed.
type pages struct {
	products  []product
	tag       string // entity tag of the catalogue
	files     map[string]file
	templates map[string]*template.Template
}

func loadPages() (*pages, error) {
	p := &pages{files: make(map[string]file), templates: make(map[string]*template.Template)}
	static, err := assets.ReadDir("assets/static")
	if err != nil {
		return nil, fmt.Errorf("list assets: %w", err)
	}
	for _, e := range static {
		if p.files[e.Name()], err = loadFile("assets/static/" + e.Name()); err != nil {
			return nil, fmt.Errorf("load asset %s: %w", e.Name(), err)
		}
	}
	for _, name := range []string{"home", "product", "login", "cart", "checkout", "done", "notice"} {
		t := template.New("layout.html").Funcs(template.FuncMap{"asset": p.assetURL})
		if p.templates[name], err = t.ParseFS(assets, "assets/pages/layout.html", "assets/pages/"+name+".html"); err != nil {
			return nil, fmt.Errorf("parse page %s: %w", name, err)
		}
	}
	return p, p.loadCatalogue()
}

func (p *pages) loadCatalogue() error {
	text, err := assets.ReadFile("assets/catalogue.json")
	if err != nil {
		return fmt.Errorf("read catalogue: %w", err)
	}
	if err := json.Unmarshal(text, &p.products); err != nil {
		return fmt.Errorf("decode catalogue: %w", err)
	}
	for i := range p.products {
		each := &p.products[i]
		each.Label = fmt.Sprintf("€%d.%02d", each.Price/100, each.Price%100)
		each.Image = p.assetURL(each.ID + ".svg")
	}
	p.tag = `"` + version(text) + `"`
	return nil
}

func (p *pages) find(id string) (product, bool) {
	i := slices.IndexFunc(p.products, func(each product) bool { return each.ID == id })
	if i < 0 {
		return product{}, false
	}
	return p.products[i], true
}

func version(content []byte) string {
	hash := sha256.Sum256(content)
	return hex.EncodeToString(hash[:6])
}

func loadFile(name string) (file, error) {
	plain, err := assets.ReadFile(name)
	if err != nil {
		return file{}, err
	}
	// Not mime.TypeByExtension, whose answers depend on the machine.
	mime := map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
		".svg": "image/svg+xml", ".png": "image/png",
	}[path.Ext(name)]
	f := file{mime: mime, version: version(plain), plain: plain}
	if mime == "image/png" {
		return f, nil
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(plain) // a buffer takes everything
	_ = z.Close()
	f.packed = packed.Bytes()
	return f, nil
}

// assetURL returns an address of the asset that changes with its content.
func (p *pages) assetURL(name string) string {
	return "/assets/" + name + "?v=" + p.files[name].version
}

// pageData is what the templates see.
type pageData struct {
	Title, Region, Primary string
	Products, Rest         []product // shown at once, and fetched by the script
	Product                product
	Email, Next, Problem   string
	Order                  int64
}

func (a *app) render(w http.ResponseWriter, status int, name string, data pageData) {
	data.Region, data.Primary = a.region, a.primary
	var page bytes.Buffer
	if err := a.pages.templates[name].Execute(&page, data); err != nil {
		http.Error(w, "render page", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
}

func (a *app) home(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "public, max-age=0, s-maxage=5")
	a.render(w, http.StatusOK, "home", pageData{
		Title: "Small goods for long ways", Products: a.pages.products[:featured], Rest: a.pages.products[featured:],
	})
}

func (a *app) product(w http.ResponseWriter, r *http.Request) {
	p, ok := a.pages.find(r.PathValue("id"))
	if !ok {
		a.notFound(w, r)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=0, s-maxage=10")
	a.render(w, http.StatusOK, "product", pageData{Title: p.Name, Product: p})
}

func (a *app) notFound(w http.ResponseWriter, _ *http.Request) {
	a.render(w, http.StatusNotFound, "notice", pageData{Title: "Nothing here"})
}

// next is where to go after signing in: only addresses of this shop, since the
// value comes from outside.
func next(r *http.Request) string {
	if to := r.FormValue("next"); to == "/cart" || to == "/checkout" {
		return to
	}
	return "/"
}

func (a *app) loginPage(w http.ResponseWriter, r *http.Request) {
	a.render(w, http.StatusOK, "login", pageData{Title: "Your account", Next: next(r)})
}

func (a *app) loginForm(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "form is unreadable or too large", http.StatusBadRequest)
		return
	}
	email := r.PostFormValue("email")
	u, ok := a.accounts.login(email, r.PostFormValue("password"))
	if !ok {
		a.render(w, http.StatusUnauthorized, "login", pageData{
			Title: "Your account", Next: next(r), Email: email,
			Problem: "We do not know this e-mail address, or the password is wrong.",
		})
		return
	}
	remember(w.Header(), u, a.accounts.token(u, time.Now()))
	http.Redirect(w, r, next(r), http.StatusSeeOther)
}

func (a *app) cart(w http.ResponseWriter, _ *http.Request) {
	a.render(w, http.StatusOK, "cart", pageData{Title: "Your cart"})
}

func (a *app) checkout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "private, no-store")
	u, ok := a.accounts.user(r)
	if !ok {
		http.Redirect(w, r, "/login?next=/checkout", http.StatusSeeOther)
		return
	}
	a.render(w, http.StatusOK, "checkout", pageData{Title: "Checkout", Email: u.email()})
}

func (a *app) done(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.ParseInt(r.URL.Query().Get("order"), 10, 64)
	if err != nil || n < 1 {
		a.notFound(w, r)
		return
	}
	a.render(w, http.StatusOK, "done", pageData{Title: "Thank you", Order: n})
}

// Package demosite is a small shop that runs in several regions at once, the
// target of the demo and of the tests: pages, a JSON API, an edge cache per
// region, one write primary with replicas that lag, and faults that can be
// switched on and off while it runs. With all faults off every journey
// through it succeeds, each time in the same way.
package demosite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lastmile/internal/demosite/edge"
)

// DefaultPassword signs in every seeded user unless [Options] says otherwise.
// It protects nothing, so it is no secret.
const DefaultPassword = "demo-shop-password"

const (
	// slowBy is the delay under [SlowRegion].
	slowBy = 800 * time.Millisecond
	// failingPath begins the addresses that fail under [Errors].
	failingPath = "/api/stock/"
	// shutdownGrace is how long requests in flight may take when the site stops.
	shutdownGrace = 2 * time.Second
)

// Options describe a site; the zero value is a good one. A negative duration
// means none.
type Options struct {
	Regions     []string      // the first is the write primary; default us, eu, apac, latam
	Host        string        // address to listen on; default 127.0.0.1
	Port        int           // of the first region, the others follow; 0 picks free ones
	PortFlag    string        // the flag behind Port, named in the error if a port is taken
	Password    string        // of every seeded user; default DefaultPassword
	ReplicaLag  time.Duration // from a write to its visibility in other regions, ±20 %; default 120 ms
	OriginDelay time.Duration // work of the origin per response; default 15 ms
	Distance    time.Duration // added where a request crosses regions; default 60 ms
}

func (o Options) withDefaults() Options {
	if len(o.Regions) == 0 {
		o.Regions = []string{"us", "eu", "apac", "latam"}
	}
	o.Host = cmp.Or(o.Host, "127.0.0.1")
	o.Password = cmp.Or(o.Password, DefaultPassword)
	o.ReplicaLag = max(0, cmp.Or(o.ReplicaLag, 120*time.Millisecond))
	o.OriginDelay = max(0, cmp.Or(o.OriginDelay, 15*time.Millisecond))
	o.Distance = max(0, cmp.Or(o.Distance, 60*time.Millisecond))
	return o
}

func (o Options) validate() error {
	var errs []error
	name := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	for i, r := range o.Regions {
		if !name.MatchString(r) || r == AllRegions {
			errs = append(errs, fmt.Errorf("got region %q, want a DNS label other than %q", r, AllRegions))
		}
		if slices.Contains(o.Regions[:i], r) {
			errs = append(errs, fmt.Errorf("region %q is named twice", r))
		}
	}
	if last := 65536 - len(o.Regions); o.Port < 0 || o.Port > last {
		errs = append(errs, fmt.Errorf("got port %d, want 0 to %d for %d regions", o.Port, last, len(o.Regions)))
	}
	return errors.Join(errs...)
}

// Site is a running shop.
type Site struct {
	log     *slog.Logger
	opts    Options
	faults  *Faults
	regions []*region
	urls    map[string]string

	serving  sync.WaitGroup
	failed   chan error // of listeners that broke; has room for all
	stopOnce sync.Once
	stopErr  error
}

// region is one listener and everything behind it.
type region struct {
	name     string
	faults   *Faults
	edge     *edge.Cache
	away     *region // where visitors are sent under Misroute
	distance time.Duration
	dynamic  atomic.Int64 // requests counted under Errors
	listener net.Listener
	server   *http.Server
}

// Start binds a listener per region and serves them until [Site.Run] returns or
// [Site.Close] is called; ctx bounds only the binding. A listener that cannot
// be had is an error that names region, address and flag.
func Start(ctx context.Context, log *slog.Logger, opts Options) (*Site, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("start demo site: %w", err)
	}
	s := &Site{
		log: log, opts: opts, faults: newFaults(opts.Regions),
		urls: make(map[string]string), failed: make(chan error, len(opts.Regions)),
	}
	err := s.build()
	if err == nil {
		err = s.listen(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("start demo site: %w", err)
	}
	for _, r := range s.regions {
		s.serving.Go(func() { s.serve(r) })
		log.Debug("demo site region serves", "region", r.name, "url", s.URL(r.name))
	}
	return s, nil
}

func (s *Site) build() error {
	pages, err := loadPages()
	if err != nil {
		return err
	}
	accounts := newAccounts(s.opts.Password)
	db := newDatabase(s.opts.Regions, pages.products, s.opts.ReplicaLag, s.faults)
	for i, name := range s.opts.Regions {
		a := &app{
			region: name, primary: s.opts.Regions[0], work: s.opts.OriginDelay,
			accounts: accounts, db: db, pages: pages,
		}
		if i > 0 {
			a.distance = s.opts.Distance
		}
		r := &region{
			name: name, faults: s.faults, edge: edge.New(name, a.handler(), s.faults.defects(name)), distance: s.opts.Distance,
		}
		r.server = &http.Server{
			Handler: r, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			WriteTimeout: 30 * time.Second, IdleTimeout: 60 * time.Second, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		s.regions = append(s.regions, r)
	}
	for i, r := range s.regions {
		r.away = s.regions[(i+1)%len(s.regions)]
	}
	return nil
}

func (s *Site) listen(ctx context.Context) error {
	for i, r := range s.regions {
		addr := net.JoinHostPort(s.opts.Host, "0")
		if s.opts.Port != 0 {
			addr = net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port+i))
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			for _, bound := range s.regions[:i] {
				_ = bound.listener.Close() // the first error is the one to report
			}
			flag := cmp.Or(s.opts.PortFlag, "Options.Port")
			return fmt.Errorf("listen on %s for region %s (%s chooses the first port): %w", addr, r.name, flag, err)
		}
		r.listener, s.urls[r.name] = l, "http://"+l.Addr().String()
	}
	return nil
}

func (s *Site) serve(r *region) {
	if err := r.server.Serve(r.listener); !errors.Is(err, http.ErrServerClosed) {
		s.failed <- fmt.Errorf("serve region %s: %w", r.name, err)
	}
}

// Run blocks until ctx is done or a listener breaks, then closes the site. Only
// a broken listener or an unclean close is an error.
func (s *Site) Run(ctx context.Context) error {
	var broken error
	select {
	case <-ctx.Done():
	case broken = <-s.failed:
	}
	return errors.Join(broken, s.Close())
}

// Close stops the site: requests in flight get a moment to finish. When it
// returns, no goroutine and no listener is left. Closing twice is harmless.
func (s *Site) Close() error {
	s.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
		defer cancel()
		var errs []error
		for _, r := range s.regions {
			err := r.server.Shutdown(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				// A browser's idle spare connections look busy; cutting them is clean.
				err = r.server.Close()
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("stop region %s: %w", r.name, err))
			}
		}
		s.serving.Wait()
		s.stopErr = errors.Join(errs...)
	})
	return s.stopErr
}

// Regions returns the names of the regions; the first is the write primary.
func (s *Site) Regions() []string { return slices.Clone(s.opts.Regions) }

// URL returns the address of a region's edge, without a slash at the end; it
// is empty for an unknown region.
func (s *Site) URL(region string) string { return s.urls[region] }

// Faults returns the site's switchboard.
func (s *Site) Faults() *Faults { return s.faults }

// ServeHTTP is where a region's visitors arrive.
func (r *region) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !r.faults.On(Misroute, r.name) {
		r.answer(w, req)
		return
	}
	// Sent astray: the whole of the other region answers, at the price of the way.
	wait(req.Context(), r.distance)
	r.away.answer(w, req)
}

// answer serves req in this region. Slowness strikes in front of the cache, as
// an overloaded region does; assets and the health check, which looks fine in
// most real outages, are spared. Errors are those of one service of many.
func (r *region) answer(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("X-Served-Region", r.name)
	if !strings.HasPrefix(req.URL.Path, "/assets/") && req.URL.Path != "/healthz" {
		if r.faults.On(SlowRegion, r.name) && !wait(req.Context(), slowBy) {
			return
		}
		if strings.HasPrefix(req.URL.Path, failingPath) && r.faults.On(Errors, r.name) && r.dynamic.Add(1)%2 == 1 {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Cache-Status", "edge-"+r.name+"; fwd=bypass; fwd-status=503")
			http.Error(w, "the stock service of region "+r.name+" is overloaded", http.StatusServiceUnavailable)
			return
		}
	}
	r.edge.ServeHTTP(w, req)
}

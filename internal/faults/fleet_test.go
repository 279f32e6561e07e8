package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"lastmile/internal/runs"
	"lastmile/internal/scenario"
	"lastmile/internal/scenariofile"
)

// layout says what a fleet is made of.
type layout struct {
	scenarios    []string       // see scenarioText
	probes       map[string]int // by region
	coordinators int            // 0 = one
	servers      int            // NATS servers; 0 = the one inside the coordinator
	leaf         string         // region whose probes reach the hub through a leaf server of their own
	serverData   string         // where the first server has its streams; empty = a folder of the test
	probeData    map[string]string
	coordinator  []string // further flags
}

// grace is what coordinators give results beyond their deadline.
const grace = time.Second

// fleet is a target, a hub, coordinators and probes: each a process, with a link between it and the hub.
type fleet struct {
	t         testing.TB
	dir       string
	target    *target
	scenarios []scenario.Scenario
	reader    *reader

	servers      []*process
	leaf         *process
	leafAt       string
	leafLinks    []*link
	coordinators []*process
	metrics      []string            // of the coordinators
	probes       map[string]*process // by name, such as us-1
	probeMetrics map[string]string
	links        map[string]*link // to the hub, by the name of the process
	ready        time.Time        // when the coordinator was

	mu      sync.Mutex
	outages []outage
}

// scenarioText is a scenario of the suite. Its start window is half its period.
func scenarioText(kind, base string, regions []string) string {
	period, timeout, path, networks := "6s", "3s", "hit", "[none]"
	switch kind {
	case "steady":
	case "slow":
		timeout, path = "5s", "slow"
	case "wide":
		period, timeout, networks = "10s", "5s", "[none, lte]"
	case "patient", "patient-too": // its window outlasts the ack wait of the bus: a sibling can take over
		period, timeout, path = "30s", "10s", "slow"
	}
	step := fmt.Sprintf("{id: ask, type: http, url: \"%s/%s/${run.id}\", assert: [{status: 200}]}", base, path)
	if kind == "page" {
		period, timeout = "30s", "20s"
		step = fmt.Sprintf("{id: ask, type: navigate, url: \"%s/page/${run.id}\", assert: [{status: 200}]}", base)
	}
	return fmt.Sprintf("apiVersion: lastmile/v1\nscenario: %s\nschedule: \"@every %s\"\ntimeout: %s\nregions: [%s]\nnetworks: %s\nsteps:\n  - %s\n"+
		"slos: [{name: up, objective: 99%%, window: 30d}]\n", kind, period, timeout, strings.Join(regions, ", "), networks, step)
}

// newFleet makes a fleet; start starts it. Its processes end with the test.
func newFleet(t testing.TB, l layout) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), target: newTarget(t), probes: map[string]*process{}, probeMetrics: map[string]string{}, links: map[string]*link{}}
	programs := binaries(t)
	regions := f.writeScenarios(l)
	hubs := f.addServers(programs.server, l)
	for i := range max(1, l.coordinators) {
		name, listen := "coordinator-"+strconv.Itoa(i+1), address(t)
		args := []string{"serve", "--scenarios", filepath.Join(f.dir, "scenarios"), "--listen", listen, "--grace", grace.String(), "--data", filepath.Join(f.dir, name)}
		if l.servers == 0 {
			args = append(args, "--nats-listen", hubs[0])
		} else {
			args = append(args, "--nats", f.link(name, hubs))
		}
		f.coordinators = append(f.coordinators, f.process(name, programs.coordinator, append(args, l.coordinator...)...))
		f.metrics = append(f.metrics, "http://"+listen+"/metrics")
	}
	for _, region := range regions {
		for i := range l.probes[region] {
			name, listen := region+"-"+strconv.Itoa(i+1), address(t)
			data := filepath.Join(f.dir, name)
			if given, ok := l.probeData[name]; ok {
				data = given
			}
			to := hubs
			if region == l.leaf {
				to = []string{f.addLeaf(programs.server)}
			}
			args := []string{"serve", "--region", region, "--probe", name, "--nats", f.link(name, to), "--data", data, "--listen", listen,
				"--allow-net", "127.0.0.0/8", "--browser-slots", "0", "--no-sandbox", "--grace", "5s"}
			if slices.Contains(l.scenarios, "page") {
				args[slices.Index(args, "--browser-slots")+1] = "1"
			}
			f.probes[name] = f.process(name, programs.probe, args...)
			f.probes[name].env = []string{"LASTMILE_FAULTPOINT_CLOCK=" + f.clockOf(name)}
			f.probeMetrics[name] = "http://" + listen + "/metrics"
		}
	}
	t.Cleanup(f.end)
	return f
}

// writeScenarios writes the files and reads them as a coordinator does.
func (f *fleet) writeScenarios(l layout) (regions []string) {
	dir := filepath.Join(f.dir, "scenarios")
	list := "apiVersion: lastmile/v1\nregions:\n"
	for region := range l.probes {
		regions = append(regions, region)
		list += fmt.Sprintf("  %s: {description: one}\n", region)
	}
	slices.Sort(regions)
	files := map[string]string{"regions.yaml": list}
	for _, kind := range l.scenarios {
		files[kind+".yaml"] = scenarioText(kind, f.target.URL, regions)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
	set, err := scenariofile.LoadDir(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.scenarios = set.Scenarios
	return regions
}

func (f *fleet) process(name, path string, args ...string) *process {
	return &process{t: f.t, name: name, path: path, args: args, log: filepath.Join(f.dir, name+".log")}
}

// addServers makes the hub, and returns where it listens. Its servers tell nobody of one another: clients would go past the links.
func (f *fleet) addServers(path string, l layout) (hubs []string) {
	if l.servers == 0 {
		return []string{address(f.t)}
	}
	var routes []string
	for range l.servers {
		hubs = append(hubs, address(f.t))
		routes = append(routes, address(f.t))
	}
	for i := range l.servers {
		name := "nats-" + strconv.Itoa(i+1)
		store := filepath.Join(f.dir, name)
		if i == 0 && l.serverData != "" {
			store = l.serverData
		}
		config := fmt.Sprintf("server_name: %s\nlisten: %q\njetstream { store_dir: %q, sync_interval: always, max_file_store: 100GB }\n", name, hubs[i], store)
		if l.servers > 1 {
			config += fmt.Sprintf("cluster { name: hub, listen: %q, no_advertise: true, routes: [\"nats://%s\"] }\n", routes[i], strings.Join(routes, "\", \"nats://"))
		}
		if l.leaf != "" {
			at := address(f.t)
			config += fmt.Sprintf("leafnodes { listen: %q, no_advertise: true }\n%s", at, throughLeaf)
			f.leafLinks = append(f.leafLinks, newLink(f.t, at))
		}
		f.servers = append(f.servers, f.process(name, path, "-c", f.write(name+".conf", config)))
	}
	return hubs
}

// throughLeaf has both servers of a leaf link let requests for streams pass, which they refuse unless the account has no domain of its own.
const throughLeaf = "default_js_domain: {\"$G\": \"\"}\n"

// addLeaf makes the leaf server, once, and returns where it listens. It has no streams of its own.
func (f *fleet) addLeaf(path string) string {
	if f.leaf == nil {
		f.leafAt = address(f.t)
		var remotes []string
		for _, l := range f.leafLinks {
			remotes = append(remotes, strings.Replace(l.url(), "nats://", "nats-leaf://", 1))
		}
		config := fmt.Sprintf("server_name: leaf\nlisten: %q\nleafnodes { remotes: [{urls: [\"%s\"]}] }\nping_interval: 5s\n%s", f.leafAt, strings.Join(remotes, "\", \""), throughLeaf)
		f.leaf = f.process("leaf", path, "-c", f.write("leaf.conf", config))
	}
	return f.leafAt
}

// cutLeaf cuts the leaf server off the hub.
func (f *fleet) cutLeaf() {
	for _, l := range f.leafLinks {
		l.cut()
	}
}

func (f *fleet) healLeaf() {
	for _, l := range f.leafLinks {
		l.heal()
	}
}

func (f *fleet) write(name, text string) (path string) {
	path = filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// clockOf is the file that says how far a process's clock is off.
func (f *fleet) clockOf(name string) string { return filepath.Join(f.dir, name+".clock") }

// setClock sets a process's clock ahead, or back.
func (f *fleet) setClock(name string, by time.Duration) { f.write(name+".clock", by.String()) }

// link makes a process's link to the hub, of which it uses every server, and returns the address for it.
func (f *fleet) link(name string, hubs []string) string {
	var urls []string
	for i, hub := range hubs {
		l := newLink(f.t, hub)
		key := name
		if i > 0 {
			key += "/" + strconv.Itoa(i+1)
		}
		f.links[key] = l
		urls = append(urls, l.url())
	}
	return strings.Join(urls, ",")
}

// start starts everything but the probes that are left out, each with the fault point that is named for it, and waits until the coordinator is ready.
func (f *fleet) start(faultpoints map[string]string, without ...string) {
	f.t.Helper()
	for _, s := range f.servers {
		s.start("")
	}
	f.awaitStreams(f.hubURLs())
	if f.leaf != nil {
		f.leaf.start("")
		f.awaitStreams("nats://" + f.leafAt)
	}
	f.coordinators[0].start(faultpoints[f.coordinators[0].name])
	f.awaitReady(0)
	f.leader(-1)
	f.ready = time.Now().Add(2 * time.Second) // the first slots are planned a moment later
	for _, c := range f.coordinators[1:] {
		c.start(faultpoints[c.name])
	}
	for name, p := range f.probes {
		if !slices.Contains(without, name) {
			p.start(faultpoints[name])
		}
	}
	f.fault("the fleet's start", "", runs.ReasonNoProbe, runs.ReasonExpired)()
	f.mu.Lock()
	f.outages[0].from, f.outages[0].to = f.ready.Add(-time.Minute), time.Now().Add(10*time.Second)
	f.mu.Unlock()
	f.reader = readStreams(f.t, f.hubURLs(), f.regions())
}

// awaitStreams waits until a hub of servers of their own can keep streams: a cluster has to elect a leader, a leaf to find the hub.
func (f *fleet) awaitStreams(urls string) {
	f.t.Helper()
	if len(f.servers) == 0 {
		return
	}
	eventually(f.t, "a hub with streams", func() bool {
		conn, err := nats.Connect(urls)
		if err != nil {
			return false
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return false
		}
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
		defer cancel()
		_, err = js.AccountInfo(ctx)
		return err == nil
	})
}

// hubURLs is where the suite itself reaches the hub: past all links.
func (f *fleet) hubURLs() string {
	var urls []string
	seen := map[string]bool{}
	for name, l := range f.links {
		if strings.HasPrefix(name, "coordinator-1") && !seen[l.target] {
			urls = append(urls, "nats://"+l.target)
		}
	}
	if len(urls) == 0 {
		args := f.coordinators[0].args
		urls = append(urls, "nats://"+args[slices.Index(args, "--nats-listen")+1])
	}
	return strings.Join(urls, ",")
}

func (f *fleet) regions() []string {
	var out []string
	for name := range f.probes {
		region, _, _ := strings.Cut(name, "-")
		if !slices.Contains(out, region) {
			out = append(out, region)
		}
	}
	slices.Sort(out)
	return out
}

// awaitReady waits until a coordinator says that its books are complete.
func (f *fleet) awaitReady(i int) {
	f.t.Helper()
	url := strings.TrimSuffix(f.metrics[i], "metrics") + "readyz"
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if _, err := get(url); err == nil {
			return
		}
		if time.Now().After(deadline) || !f.coordinators[i].alive() {
			f.t.Fatalf("%s: got it not ready within %s; log:\n%s", f.coordinators[i].name, patience, f.coordinators[i].tail())
		}
	}
}

// awaitMeasured waits until each region has a result of a slot that is due from now on.
func (f *fleet) awaitMeasured(regions ...string) {
	f.t.Helper()
	began := time.Now()
	for _, region := range regions {
		eventually(f.t, "a new measurement in "+region, func() bool {
			f.reader.mu.Lock()
			defer f.reader.mu.Unlock()
			for id, of := range f.reader.records {
				c, slot, err := id.Parse()
				state, _, _ := of.fold()
				if err == nil && c.Region == region && state.Measured() && slot.After(began) {
					return true
				}
			}
			return false
		})
	}
}

// fault notes that a fault begins, and what slots may be missing for; the function that it returns notes its end.
func (f *fleet) fault(what, region string, reasons ...runs.Reason) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(f.outages)
	f.outages = append(f.outages, outage{what: what, region: region, from: time.Now(), reasons: reasons})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.outages[i].to = time.Now()
	}
}

// death notes that a probe is to die: what it was doing may be invalid, and asked for again by a sibling.
func (f *fleet) death(what, region string, reasons ...runs.Reason) (end func()) {
	end = f.fault(what, region, reasons...)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outages[len(f.outages)-1].invalid, f.outages[len(f.outages)-1].twice = true, true
	return end
}

// settle waits until every slot that was due so far is decided, and returns when that was.
func (f *fleet) settle() (until time.Time) {
	f.t.Helper()
	until = time.Now()
	for i := range f.scenarios {
		s := &f.scenarios[i]
		for _, c := range s.Combinations() {
			for _, slot := range s.Timetable().Slots(c, f.ready, until, 1<<20) {
				id := runs.NewID(c, slot)
				deadline := time.Now().Add(patience)
				for !f.reader.decided(id) {
					if time.Now().After(deadline) {
						return until // audit says which
					}
					time.Sleep(50 * time.Millisecond)
				}
			}
		}
	}
	return until
}

// past waits until every slot that was due so far has had its time, and returns when that was. Slots of which nothing came may still be pending.
func (f *fleet) past() (until time.Time) {
	f.t.Helper()
	until = time.Now()
	for i := range f.scenarios {
		s := &f.scenarios[i]
		for _, c := range s.Combinations() {
			for _, slot := range s.Timetable().Slots(c, f.ready, until, 1<<20) {
				for limit := slot.Add(s.StartWindow() + s.Timeout.D() + grace); !f.reader.decided(runs.NewID(c, slot)) && time.Now().Before(limit); {
					time.Sleep(20 * time.Millisecond)
				}
			}
		}
	}
	return until
}

// check settles, and holds the books of the reader and of a coordinator against the promise.
func (f *fleet) check() *tally {
	f.t.Helper()
	sums := f.auditUntil(f.settle())
	f.compare(f.leader(-1)) // one that stands by shows no slots: they would count twice in a sum
	return sums
}

// auditUntil reports what is wrong in the streams.
func (f *fleet) auditUntil(until time.Time) *tally {
	f.t.Helper()
	f.mu.Lock()
	outages := slices.Clone(f.outages)
	f.mu.Unlock()
	sums := audit(f.scenarios, f.reader, f.target, outages, f.ready, until)
	f.t.Logf("%s", sums)
	const shown = 12
	for i, problem := range sums.problems {
		if i == shown {
			f.t.Errorf("and %d more", len(sums.problems)-shown)
			break
		}
		f.t.Error(problem)
	}
	return sums
}

// compare waits until a coordinator's metrics agree with the streams.
func (f *fleet) compare(i int) {
	f.t.Helper()
	var differences []string
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if differences = f.differences(i); len(differences) == 0 {
			return
		}
		if time.Now().After(deadline) {
			f.t.Errorf("%s: got books that differ from the streams:\n%s", f.coordinators[i].name, strings.Join(differences[:min(10, len(differences))], "\n"))
			return
		}
	}
}

func (f *fleet) differences(i int) (out []string) {
	got, err := scrape(f.metrics[i])
	if err != nil {
		return []string{err.Error()}
	}
	want := f.reader.counts()
	for j := range f.scenarios {
		for _, c := range f.scenarios[j].Combinations() {
			labels := []string{`scenario="` + c.Scenario + `"`, `region="` + c.Region + `"`, `network="` + c.Network + `"`}
			for _, state := range runs.States() {
				n := got.sum("lastmile_ledger_slots", append(labels, `state="`+string(state)+`"`)...)
				if state != runs.StatePending && int(n) != want[c][state] {
					out = append(out, fmt.Sprintf("%s: got %v %s, want %d", c, n, state, want[c][state]))
				}
			}
			planned, all := got.sum("lastmile_slots_total", append(labels, `state="planned"`)...), got.sum("lastmile_ledger_slots", labels...)
			if planned != all {
				out = append(out, fmt.Sprintf("%s: got %v planned and %v over all states", c, planned, all))
			}
		}
	}
	return out
}

// end ends all processes; where the test failed it shows their last lines.
func (f *fleet) end() {
	all := slices.Clone(f.servers)
	if f.leaf != nil {
		all = append(all, f.leaf)
	}
	all = append(all, f.coordinators...)
	for _, p := range f.probes {
		all = append(all, p)
	}
	for _, p := range slices.Backward(all) {
		p.stopForGood()
	}
	if !f.t.Failed() {
		return
	}
	keep, err := os.MkdirTemp("", "lastmile-faults-logs-")
	if err != nil {
		f.t.Log(err)
		return
	}
	for _, p := range all {
		if body, err := os.ReadFile(p.log); err == nil {
			_ = os.WriteFile(filepath.Join(keep, filepath.Base(p.log)), body, 0o600)
		}
	}
	f.t.Logf("logs of all processes: %s", keep)
}

// series are the samples of a scrape: name and labels -> value.
type series map[string]float64

func scrape(url string) (series, error) {
	body, err := get(url)
	if err != nil {
		return nil, err
	}
	out := series{}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		if i := strings.LastIndexByte(line, ' '); i > 0 && !strings.HasPrefix(line, "#") {
			if value, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
				out[line[:i]] = value
			}
		}
	}
	return out, nil
}

// sum adds the series of a metric whose labels contain all the given pairs.
func (s series) sum(name string, labels ...string) float64 {
	total := 0.0
	for key, value := range s {
		metric, rest, _ := strings.Cut(key, "{")
		if metric == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += value
		}
	}
	return total
}

// client of the programs' own listeners, which may be stopped processes.
var client = &http.Client{Timeout: 5 * time.Second}

func get(url string) (string, error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %s: got %s, want 200: %s", url, answer.Status, body)
	}
	return string(body), err
}

package floors

// house is the law that the checks hold the sources against.
type house struct {
	module  string         // path of the module
	steps   map[string]int // every package, and the step it stands on: it imports lower steps only
	pure    int            // packages up to this step do no I/O, read no clock and log nothing
	owners  map[string]module
	folders []string // the folders at the top of the repository
	limits  limits
}

// module says who may import a third-party module.
type module struct {
	owners   []string // the packages that own it, with their parts
	anyRoom  bool     // whether any package above the pure steps may import it: an extension of the standard library
	testOnly bool     // whether only test files import it
}

// limits are the sizes above which code no longer reads in one go.
type limits struct {
	function int // lines, in code that is no test
	file     int // lines
	pkg      int // lines of a package without its tests
}

const (
	ground = iota
	definition
	run
	note   // pure like the ones before, about them
	strand // the parts of the bus
	wire
	fitting // the small parts of a room
	part    // a part of a room, which alone imports its parts
	wing    // a part of a room that is made of its other parts
	room
	attic // a part of a program that has outgrown it
	roof
	ridge // the coordinator's demo runs the probe's program in its own process
	gable // the coordinator's program has the demo
	entrance
	support // for tests only, which may import upwards
)

// lastmile draws the house. Packages on one step never import one another; cmd connects them.
func lastmile() house {
	return house{
		module: "lastmile",
		pure:   note,
		steps: map[string]int{
			"dashboards": ground,

			"cmd/coordinator": entrance,
			"cmd/probe":       entrance,

			"cmd/coordinator/app":          gable,
			"cmd/coordinator/demo":         ridge,
			"cmd/coordinator/coordination": roof,
			"cmd/coordinator/pager":        attic,
			"cmd/coordinator/identity":     attic,

			"cmd/probe/app":   roof,
			"cmd/probe/links": attic,

			"internal/artefact":     room,
			"internal/autonomy":     room,
			"internal/baseline":     room,
			"internal/browser":      room,
			"internal/cli":          room,
			"internal/console":      room,
			"internal/demosite":     room,
			"internal/evaluate":     room,
			"internal/exposition":   room,
			"internal/fleet":        room,
			"internal/httprunner":   room,
			"internal/journey":      room,
			"internal/netrunner":    room,
			"internal/notify":       room,
			"internal/ledger":       room,
			"internal/linkemu":      room,
			"internal/scenariofile": room,
			"internal/rulefile":     room,
			"internal/schedule":     room,
			"internal/snapshot":     room,
			"internal/spool":        room,
			"internal/tracing":      room,
			"internal/worker":       room,

			"internal/browser/chromium": fitting,
			"internal/browser/keyboard": fitting,
			"internal/browser/traffic":  fitting,
			"internal/browser/vitals":   fitting,
			"internal/browser/elements": part,
			"internal/browser/hand":     part,
			"internal/browser/picture":  part,
			"internal/browser/tab":      part,
			"internal/browser/steps":    wing,

			"internal/demosite/edge": fitting,

			"internal/journey/budget": fitting,

			"internal/notify/wording":  fitting,
			"internal/notify/delivery": part,

			"internal/exposition/catalogue": fitting,
			"internal/exposition/sheet":     part,
			"internal/exposition/meters":    wing,

			"internal/evaluate/lamp":     part,
			"internal/evaluate/tally":    fitting,
			"internal/evaluate/evidence": part,

			"internal/ledger/causes":     part,
			"internal/ledger/codec":      fitting,
			"internal/ledger/edge":       part,
			"internal/ledger/indicators": part,
			"internal/ledger/slots":      part,

			"internal/httprunner/coding": fitting,
			"internal/httprunner/guard":  part,
			"internal/netrunner/records": fitting,
			"internal/httprunner/h3":     fitting,

			"internal/scenariofile/document":  fitting,
			"internal/scenariofile/recording": part,

			"internal/linkemu/guard":     fitting,
			"internal/linkemu/link":      fitting,
			"internal/linkemu/namespace": fitting,
			"internal/linkemu/relay":     fitting,
			"internal/linkemu/socks":     fitting,
			"internal/linkemu/gauge":     part,
			"internal/linkemu/trial":     part,
			"internal/linkemu/dns":       part,
			"internal/linkemu/netstack":  part,

			"internal/admission":      wire,
			"internal/bus":            wire,
			"internal/bus/embedded":   strand,
			"internal/bus/orders":     strand,
			"internal/bus/lease":      strand,
			"internal/bus/layout":     strand,
			"internal/bus/audit":      strand,
			"internal/bus/archive":    strand,
			"internal/bus/dial":       strand,
			"internal/bus/objects":    strand,
			"internal/bus/outbox":     strand,
			"internal/bus/peers":      strand,
			"internal/bus/plans":      strand,
			"internal/bus/relay":      strand,
			"internal/bus/resultjson": strand,
			"internal/bus/room":       strand,
			"internal/faultpoint":     strand,
			"internal/wholefile":      strand,
			"internal/hubtime":        strand,
			"internal/steady":         strand,
			"internal/answer":         wire,
			"internal/cause":          part,
			"internal/har":            wire,
			"internal/report":         wire,
			"internal/statement":      wire,

			"internal/clientcert": fitting,
			"internal/shortage":   fitting,

			"internal/runs":       run,
			"internal/runs/notes": note,
			"internal/runs/sli":   note,
			"internal/scenario":   definition,

			"internal/scenario/predicate": definition,
			"internal/scenario/rules":     run,

			"internal/cachestate": ground,
			"internal/device":     ground,
			"internal/netprofile": ground,
			"internal/slo":        ground,
			"internal/vars":       ground,

			"internal/cli/clitest":               support,
			"internal/exposition/expositiontest": support,
			"internal/faults":                    support,
			"internal/floors":                    support,
			"internal/httprunner/h3/h3test":      support,
			"internal/linkemu/linktest":          support,
			"internal/har/hartest":               support,
		},
		owners: map[string]module{
			"github.com/VictoriaMetrics/metrics":                              {owners: []string{"internal/exposition"}},
			"github.com/alecthomas/kong":                                      {owners: []string{"cmd/coordinator/app", "cmd/probe/app", "internal/cli"}},
			"github.com/andybalholm/brotli":                                   {owners: []string{"internal/httprunner"}},
			"github.com/coder/websocket":                                      {owners: []string{"internal/netrunner"}},
			"github.com/chromedp/cdproto":                                     {owners: []string{"internal/browser"}},
			"github.com/chromedp/chromedp":                                    {owners: []string{"internal/browser"}},
			"github.com/expr-lang/expr":                                       {owners: []string{"internal/scenario/predicate"}},
			"github.com/goccy/go-yaml":                                        {owners: []string{"internal/scenariofile/document"}},
			"github.com/jedib0t/go-pretty/v6":                                 {owners: []string{"internal/console"}},
			"github.com/klauspost/compress":                                   {owners: []string{"internal/httprunner"}},
			"github.com/miekg/dns":                                            {owners: []string{"internal/netrunner"}},
			"github.com/nats-io/nats-server/v2":                               {owners: []string{"internal/bus"}},
			"github.com/nats-io/nats.go":                                      {owners: []string{"internal/bus"}},
			"github.com/quic-go/quic-go":                                      {owners: []string{"internal/httprunner"}},
			"github.com/robfig/cron/v3":                                       {owners: []string{"internal/scenario"}},
			"github.com/santhosh-tekuri/jsonschema/v6":                        {owners: []string{"internal/scenario/predicate", "internal/scenariofile"}},
			"github.com/theory/jsonpath":                                      {owners: []string{"internal/answer"}},
			"github.com/vishvananda/netlink":                                  {owners: []string{"internal/linkemu/namespace"}},
			"golang.org/x/net":                                                {owners: []string{"internal/linkemu"}},
			"golang.org/x/sys":                                                {owners: []string{"internal/browser", "internal/linkemu", "internal/steady"}},
			"go.opentelemetry.io/otel":                                        {owners: []string{"internal/tracing"}},
			"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp": {owners: []string{"internal/tracing"}},
			"go.opentelemetry.io/otel/sdk":                                    {owners: []string{"internal/tracing"}},
			"go.opentelemetry.io/otel/trace":                                  {owners: []string{"internal/tracing"}},
			"go.opentelemetry.io/proto/otlp":                                  {testOnly: true},
			"google.golang.org/protobuf":                                      {testOnly: true},
			"google.golang.org/grpc":                                          {owners: []string{"internal/netrunner"}},
			"pgregory.net/rapid":                                              {testOnly: true},
			"gvisor.dev/gvisor":                                               {owners: []string{"internal/linkemu/netstack"}},
			"golang.org/x/term":                                               {owners: []string{"cmd/coordinator/app"}},
			"golang.org/x/sync":                                               {anyRoom: true},
		},
		folders: []string{".ci", ".git", "cmd", "dashboards", "internal", "scenarios", "tools"},
		limits:  limits{function: 80, file: 600, pkg: 1500},
	}
}

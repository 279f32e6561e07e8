package predicate

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"
)

// Values are what an expression is about, by the names that it calls them. Only those that it Uses need be there.
type Values struct {
	Status   int               `expr:"status"`
	Headers  map[string]string `expr:"headers"` // by their names in lower case
	Body     string            `expr:"body"`
	JSON     any               `expr:"json"` // decoded, numbers as int or float64
	Size     int               `expr:"size"`
	Phases   map[string]any    `expr:"phases"`   // milliseconds; those that did not happen are not there
	Duration float64           `expr:"duration"` // milliseconds
	Cache    Cache             `expr:"cache"`
	Cookies  map[string]string `expr:"cookies"`
	Vars     map[string]any    `expr:"vars"`
	Cert     *Certificate      `expr:"cert"` // nil = the server showed none
	TLS      string            `expr:"tls"`  // the version, such as TLS 1.3; "" = none
	DNS      []string          `expr:"dns"`

	Header  func(name string) string `expr:"header"` // set by Run, as those below
	Turn    func() bool              `expr:"a turn"` // blanks: no expression can name them
	Whole   func(value any) any      `expr:"the whole"`
	Text    func(value any) any      `expr:"the text"`
	Matched func(value any) any      `expr:"the matched"`
	Pattern func(value any) any      `expr:"the pattern"`
}

// Cache is what a shared cache did.
type Cache struct {
	State  string `expr:"state" json:"state"`
	Tier   string `expr:"tier" json:"tier"`
	Vendor string `expr:"vendor" json:"vendor"`
	Age    any    `expr:"age" json:"age"` // seconds; nil = not said
}

// Certificate is the server's.
type Certificate struct {
	DaysLeft float64  `expr:"daysLeft" json:"daysLeft"`
	Issuer   string   `expr:"issuer" json:"issuer"`
	Subject  string   `expr:"subject" json:"subject"`
	Names    []string `expr:"names" json:"names"`
}

const (
	maxText    = 10_000 // bytes of an expression
	maxNodes   = 1000
	maxMemory  = 1_000_000 // elements of arrays and maps that an expression makes
	maxPattern = 1000      // bytes of a regular expression that is not written in the expression
)

// Expression is a compiled expression. It is safe for concurrent use.
type Expression struct {
	program *vm.Program
	uses    []string
}

// NewExpression compiles an expression; one that is boolean must be able to give true or false. The error is one line.
func NewExpression(text string, boolean bool) (*Expression, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(text), maxText)
	}
	m := &meter{}
	options := []expr.Option{
		expr.Env(Values{}), expr.MaxNodes(maxNodes), expr.Patch(m),
		// What these make may be larger than what they are given by any factor, or takes its square in time; the last reads files.
		expr.DisableBuiltin("repeat"), expr.DisableBuiltin("replace"), expr.DisableBuiltin("join"), expr.DisableBuiltin("uniq"), expr.DisableBuiltin("timezone"),
	}
	if boolean {
		options = append(options, expr.AsBool())
	}
	program, err := expr.Compile(text, options...)
	if err != nil {
		return nil, errors.New(firstLine(err))
	}
	if slices.Contains(m.uses, "$env") {
		return nil, errors.New("got $env, want the names themselves")
	}
	return &Expression{program: program, uses: m.uses}, nil
}

// firstLine is an error without the picture of where it is that the library draws beneath.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// Uses reports whether the expression has the name in it.
func (e *Expression) Uses(name string) bool { return slices.Contains(e.uses, name) }

// Run evaluates the expression. The error is what the answer does not have that the expression needs, in one line that may quote the
// answer, or ErrCost. The result is a value that JSON has or one of the Values; a time is a text (RFC 3339), a duration milliseconds.
func (e *Expression) Run(values Values) (result any, err error) { return e.run(values, maxTurns) }

func (e *Expression) run(values Values, turns int) (result any, err error) {
	w := &work{left: turns}
	values.Header = func(name string) string { return values.Headers[strings.ToLower(name)] }
	values.Turn = func() bool { w.spend(1); return true }
	values.Whole = func(value any) any { w.walk(value); return value }
	values.Text = func(value any) any { w.text(value, bytesCopied); return value }
	values.Matched = func(value any) any { w.text(value, bytesMatched); return value }
	values.Pattern = func(value any) any {
		if text, ok := value.(string); ok && len(text) > maxPattern {
			panic(fmt.Sprintf("got a regular expression of %d bytes, want at most %d", len(text), maxPattern))
		}
		return value
	}
	machine := vm.VM{MemoryBudget: maxMemory}
	result, err = machine.Run(e.program, values)
	if err == nil {
		err = w.finished(result)
	}
	switch {
	case errors.Is(err, ErrCost), err != nil && strings.HasPrefix(err.Error(), "memory budget exceeded"):
		return nil, ErrCost
	case err != nil:
		return nil, errors.New(firstLine(err))
	}
	switch v := result.(type) {
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	case time.Duration:
		return float64(v) / float64(time.Millisecond), nil
	}
	return result, nil
}

// finished walks the result, so that whoever writes it down comes to an end too.
func (w *work) finished(result any) (err error) {
	defer func() {
		if recover() != nil {
			err = ErrCost
		}
	}()
	w.walk(result)
	if reflect.ValueOf(result).Kind() == reflect.Func {
		return errors.New("got a function, want a value")
	}
	return nil
}

// text spends what it takes to copy or to match a string.
func (w *work) text(value any, bytes int) {
	if s, ok := value.(string); ok {
		w.spend(len(s)/bytes + 1)
	}
}

// meter makes an expression spend work: each turn of a loop, and whatever takes the longer the more there is. It also notes the names
// that the expression uses.
type meter struct{ uses []string }

// light are the functions that look at no more than the text of what they are given, or at nothing.
var light = []string{"len", "first", "last", "get", "take", "type"}

// Visit implements ast.Visitor.
func (m *meter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		if !slices.Contains(m.uses, n.Value) {
			m.uses = append(m.uses, n.Value)
		}
		if n.Value == "header" {
			m.uses = append(m.uses, "headers")
		}
	case *ast.PredicateNode:
		n.Node = &ast.SequenceNode{Nodes: []ast.Node{call("a turn"), n.Node}}
	case *ast.BinaryNode:
		m.binary(n)
	case *ast.BuiltinNode:
		if len(n.Arguments) > 1 && isPredicate(n.Arguments[1]) {
			return // which counts its turns
		}
		by := "the whole"
		if slices.Contains(light, n.Name) {
			by = "the text"
		}
		for i := range n.Arguments {
			n.Arguments[i] = metered(n.Arguments[i], by)
		}
	case *ast.MemberNode:
		if _, constant := n.Property.(*ast.StringNode); !constant {
			n.Property = metered(n.Property, "the whole")
		}
	}
}

func isPredicate(node ast.Node) bool {
	_, ok := node.(*ast.PredicateNode)
	return ok
}

func (m *meter) binary(n *ast.BinaryNode) {
	switch n.Operator {
	case "+", "contains", "startsWith", "endsWith":
		n.Left, n.Right = metered(n.Left, "the text"), metered(n.Right, "the text")
	case "matches":
		n.Left = metered(n.Left, "the matched")
		if _, constant := n.Right.(*ast.StringNode); !constant {
			n.Right = metered(n.Right, "the pattern")
		}
	case "==", "!=", "in":
		for _, side := range []*ast.Node{&n.Left, &n.Right} {
			if t := (*side).Type(); t == nil || t.Kind() != reflect.String { // which are compared as fast as they come, and keep their type
				*side = metered(*side, "the whole")
			}
		}
	}
}

// metered has the function look at a value on its way, unless that is too small to matter.
func metered(node ast.Node, by string) ast.Node {
	switch node.(type) {
	case *ast.NilNode, *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.ConstantNode, *ast.PredicateNode:
		return node
	}
	t := node.Type()
	if t != nil && t.Kind() != reflect.Interface {
		switch t.Kind() {
		case reflect.String:
		case reflect.Slice, reflect.Map:
			if by != "the whole" || t.Elem().Kind() <= reflect.Float64 {
				return node
			}
		default:
			return node
		}
	}
	out := call(by, node)
	out.SetLocation(node.Location())
	return out
}

func call(name string, arguments ...ast.Node) *ast.CallNode {
	return &ast.CallNode{Callee: &ast.IdentifierNode{Value: name}, Arguments: arguments}
}

// Plain is a decoded JSON value with its numbers as an expression wants them: int where they are whole and fit, else float64.
func Plain(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := strconv.Atoi(string(v)); err == nil {
			return n
		}
		f, _ := v.Float64() // infinite where it does not fit, which compares as it should
		return f
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = Plain(item)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, item := range v {
			out[key] = Plain(item)
		}
		return out
	}
	return value
}

package bus

import (
	"log/slog"

	"lastmile/internal/bus/embedded"
)

// Server is an embedded NATS server.
type Server = embedded.Server

// ServerOptions configure a Server.
type ServerOptions = embedded.Options

// StartServer starts an embedded server and returns when it takes connections. The caller stops it with Stop.
func StartServer(log *slog.Logger, o ServerOptions) (*Server, error) { return embedded.Start(log, o) }

// The bench's load client: what kube-apiserver is to a plugin, as often and as much at a time as the bench wants.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kms "k8s.io/kms/apis/v2"
)

// The API server's default for kms.timeout.
const callTimeout = 3 * time.Second

// One job, as JSON in the only argument.
type job struct {
	Do     string `json:"do"`
	Socket string `json:"socket"`
	// load
	Method   string  `json:"method"`
	InFlight int     `json:"inFlight"`
	Seconds  float64 `json:"seconds"`
	Calls    int     `json:"calls"`
	// decrypt: a file of seeds
	Seeds string `json:"seeds"`
	// spawn: the plugin to start, and whether Status must say "ok"
	Command []string `json:"command"`
	Healthy bool     `json:"healthy"`
	// evict
	Directories []string `json:"directories"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("one argument is needed: a job as JSON")
	}
	var wanted job
	if err := json.Unmarshal([]byte(args[0]), &wanted); err != nil {
		return err
	}
	var outcome any
	var err error
	switch wanted.Do {
	case "load":
		outcome, err = load(wanted)
	case "decrypt":
		outcome, err = decryptSeeds(wanted)
	case "spawn":
		outcome, err = spawn(wanted)
	case "evict":
		outcome, err = evict(wanted)
	default:
		err = fmt.Errorf("no job is called %q", wanted.Do)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(outcome)
}

// connect dials as the API server does.
//
// See kubernetes/apiserver pkg/storage/value/encrypt/envelope/kmsv2/grpc_service.go, NewGRPCService.
func connect(socket string) (*grpc.ClientConn, kms.KeyManagementServiceClient, error) {
	connection, err := grpc.NewClient(
		"passthrough:///"+socket,
		grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			return net.DialUnix("unix", nil, &net.UnixAddr{Name: socket})
		}),
	)
	if err != nil {
		return nil, nil, err
	}
	return connection, kms.NewKeyManagementServiceClient(connection), nil
}

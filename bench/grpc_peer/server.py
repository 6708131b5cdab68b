"""A peer for bench/call_figures.py: a grpcio server whose GetCustomJob answers with one fixed job.

The answer is made of bytes read once and the request is not parsed, so this is grpcio at its best.
Usage: server.py JOB_FILE; prints its address.
"""
import sys
from concurrent import futures

import grpc

with open(sys.argv[1], "rb") as f:
    JOB = f.read()

server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
    "google.cloud.aiplatform.v1.JobService", {"GetCustomJob": grpc.unary_unary_rpc_method_handler(lambda request, context: JOB)}),))
print(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", flush=True)
server.start()
server.wait_for_termination()

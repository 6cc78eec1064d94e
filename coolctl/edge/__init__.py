"""The only owners of sockets, files, paho, prometheus and onnxruntime. Edge modules do not know each other."""

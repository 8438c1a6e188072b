"""The bundled GPU streaming server: admission, workers, scheduling, telemetry. It imports only the spine."""

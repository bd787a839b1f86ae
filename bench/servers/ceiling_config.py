"""gunicorn's configuration of the ceiling: the loop and the settings of the service."""

asgi_loop = "uvloop"
asgi_lifespan = "off"
backlog = 2048
worker_connections = 10_000
control_socket_disable = True
accesslog = None

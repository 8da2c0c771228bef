# The application of Puma.
run lambda { |env|
  body = env['PATH_INFO'] == '/whoami' ? Process.pid.to_s : 'Hello World'
  [200, { 'Content-Type' => 'text/plain', 'Content-Length' => body.bytesize.to_s }, [body]]
}

"""KubeRay, Ray and the served application of a simulated cluster."""

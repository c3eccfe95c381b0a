"""Node autoscalers: Luna, Karpenter and the clouds' own."""
